package wxphone

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/wxphone/wxphone/internal/guarded"
	"github.com/wxphone/wxphone/internal/sealed"
	"github.com/wxphone/wxphone/internal/transport"
)

// maxDuplicateWindow keeps phone numbers from staying in memory for good. A
// code lives 5 minutes.
const maxDuplicateWindow = time.Hour

// WithDuplicateWindow makes [Client.GetPhoneNumber] remember for d, at most an
// hour, which phone number a code was redeemed for. If a network or a user
// repeats the request, the number is returned again, where WeChat would reject
// the code as used. No request is sent to WeChat, and no [Call] is observed.
//
// d starts at the redemption, and repeats do not extend it. Failures are not
// remembered. The latest 10,000 numbers at most are kept in the memory of this
// process. [WithDuplicateStore] shares them with other processes.
//
// With or without this option, concurrent calls with the same code redeem it
// once.
func WithDuplicateWindow(d time.Duration) Option {
	return func(o *options) error {
		if d <= 0 || d > maxDuplicateWindow {
			return invalid("WithDuplicateWindow", "is not more than 0 and at most an hour")
		}
		o.duplicateWindow = d
		return nil
	}
}

// WithDuplicateStore keeps what [WithDuplicateWindow] remembers in store, so that
// a request which is repeated at another process is answered too. If several
// processes receive the same code at the same time, one of them redeems it. The
// option needs WithDuplicateWindow.
//
// Someone who reads the store learns neither phone numbers nor codes, and there
// is no key to manage: a result is encrypted (AES-256-GCM) with a key derived
// from the code, and its name in the store is derived from the code too. This
// relies on codes that cannot be guessed. WeChat's have 256 random bits. Do not
// use a store with short codes of your own that stand for real numbers.
//
// Calls go on without a store that is down, which is logged. It takes at most a
// second of a call's time, and at most a third of what the call has left. If a
// process dies while it redeems a code, the others wait for up to 15 seconds,
// none longer than its own context, and then redeem it.
//
// [github.com/wxphone/wxphone/redisstore] is a store, and
// [github.com/wxphone/wxphone/wxphonetest.TestDuplicateStore] tests others.
func WithDuplicateStore(store DuplicateStore) Option {
	return func(o *options) error {
		if store == nil {
			return invalid("WithDuplicateStore", "has a nil store")
		}
		o.duplicateStore = store
		return nil
	}
}

// DuplicateStore keeps the results of codes for several processes. The results
// are encrypted before they are saved.
//
// The methods are called by multiple goroutines concurrently and must honour
// ctx, whose deadline is short. A type can also be a [TokenStore]: results,
// tokens and locks with the same key must not collide.
type DuplicateStore interface {
	// LoadResult returns the value that was saved last under key, or nil and no
	// error if there is none or it has expired.
	LoadResult(ctx context.Context, key string) (sealed []byte, err error)
	// SaveResult keeps a value under key for ttl, in place of any other.
	SaveResult(ctx context.Context, key string, sealed []byte, ttl time.Duration) error
	// TokenLocker lets one process at a time redeem a code.
	TokenLocker
}

// redemptionKey is what calls of GetPhoneNumber have in common that are one
// redemption.
type redemptionKey struct{ code, openID string }

// duplicates is what a Client knows of codes that may come in again.
type duplicates struct {
	window time.Duration // 0 to remember nothing
	shared *sharedResults
	log    *slog.Logger

	mu       sync.Mutex
	seed     maphash.Seed
	underway [32]*redemption // lists, by the hash of the code
	free     *redemption     // a list of those to use again
	// Those redeemed, also as a list from the oldest to the latest.
	redeemed       map[redemptionKey]*remembered
	oldest, latest *remembered
}

// redemption is a code's redemption under way. It is kept in lists and used
// again, where a map would double what merging costs every call.
type redemption struct {
	key  redemptionKey
	list **redemption // the start of the list that it is in
	next *redemption

	waiting int // callers besides the one that redeems the code
	// The channels are nil as long as nobody waited.
	done  chan struct{} // closed at the end
	baton chan struct{} // holds what makes one of those who wait the next to redeem the code

	// maybeUsed is that a caller which gave it up may have sent the code.
	maybeUsed bool
	// How it ended, for those who wait: one of the two.
	phone *PhoneInfo
	err   error
}

// remembered is a code that was redeemed.
type remembered struct {
	key   redemptionKey
	phone PhoneInfo
	until time.Time
	next  *remembered
}

// maxRemembered bounds the memory that remembered codes take to a few MB.
const maxRemembered = 10_000

// duplicates returns what a Client of appID does about duplicates.
func (o *options) duplicates(appID string) *duplicates {
	d := &duplicates{window: o.duplicateWindow, log: o.log, seed: maphash.MakeSeed()}
	if o.duplicateStore != nil {
		d.shared = &sharedResults{store: o.duplicateStore, appID: appID, window: o.duplicateWindow, log: o.log}
	}
	return d
}

// redeemOnce redeems a code, or waits for a call that does so already, or
// knows what came of it.
func (c *Client) redeemOnce(ctx context.Context, key redemptionKey) (*PhoneInfo, error) {
	d := c.duplicates
	r, first, phone := d.enter(key)
	if phone != nil {
		c.logDuplicate(ctx, "memory")
		return phone, nil
	}
	if !first {
		mine, err := d.wait(ctx, r)
		if err != nil {
			return nil, err
		}
		if !mine {
			if r.err == nil {
				c.logDuplicate(ctx, "a call under way")
			}
			return r.result()
		}
	}
	return c.lead(ctx, r)
}

func (c *Client) logDuplicate(ctx context.Context, from string) {
	c.duplicates.log.DebugContext(ctx, "wxphone: the code was redeemed before, WeChat is not asked again",
		"endpoint", pathGetUserPhoneNumber, "from", from)
}

// enter returns the redemption of a code, and whether the caller is its first
// and is to redeem it; or the number that the code was redeemed for.
func (d *duplicates) enter(key redemptionKey) (r *redemption, first bool, phone *PhoneInfo) {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := &d.underway[maphash.String(d.seed, key.code)%uint64(len(d.underway))]
	for r = *list; r != nil && r.key != key; {
		r = r.next
	}
	if r != nil {
		if r.done == nil {
			r.done, r.baton = make(chan struct{}), make(chan struct{}, 1)
		}
		r.waiting++
		return r, false, nil
	}
	if known := d.redeemed[key]; known != nil && time.Now().Before(known.until) {
		copied := known.phone
		return nil, false, &copied
	}
	if r = d.free; r == nil {
		r = new(redemption)
	} else {
		d.free = r.next
	}
	r.key, r.list, r.next = key, list, *list
	*list = r
	return r, true, nil
}

// remove takes a redemption from its list.
func (d *duplicates) remove(r *redemption) {
	list := r.list
	for *list != r {
		list = &(*list).next
	}
	*list = r.next
}

// wait waits for the end of another call's redemption, or of ctx. mine is true
// if the code is now the caller's to redeem.
func (d *duplicates) wait(ctx context.Context, r *redemption) (mine bool, err error) {
	select {
	case <-r.done:
		return false, nil
	case <-r.baton:
		mine = true
	case <-ctx.Done():
		err = fmt.Errorf("wxphone: %s: %w while another call redeems the same code", pathGetUserPhoneNumber, ctx.Err())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	r.waiting--
	if !mine && r.waiting == 0 {
		select {
		case <-r.baton: // which there is nobody to take
			d.remove(r)
		default:
		}
	}
	return mine, err
}

// result returns how a redemption that is done ended.
func (r *redemption) result() (*PhoneInfo, error) {
	if r.err != nil {
		return nil, r.err
	}
	copied := *r.phone
	return &copied, nil
}

// ending is how a caller's redemption ended, as far as others may know of it.
// The zero value is that it was given up.
type ending struct {
	phone     *PhoneInfo
	until     time.Time // when phone is to be forgotten
	err       error
	maybeUsed bool // WeChat may have taken the code
}

// lead redeems a code for this caller and for all who wait for it. If it
// panics or gives up, the next of them takes over.
func (c *Client) lead(ctx context.Context, r *redemption) (*PhoneInfo, error) {
	var end ending
	defer func() { c.duplicates.leave(r, end) }()
	phone, until, err := c.redeemForAll(ctx, r.key)
	if err == nil {
		end.phone, end.until = phone, until
		return phone, nil
	}
	if r.maybeUsed && !errors.Is(err, ErrCodeMaybeUsed) {
		err = fmt.Errorf("%w; another call had sent the same code before: %w", err, ErrCodeMaybeUsed)
	}
	if isCallersOwn(ctx, err) {
		end.maybeUsed = errors.Is(err, ErrCodeMaybeUsed)
	} else {
		end.err = err
	}
	return nil, err
}

// redeemForAll redeems a code unless another process has done so, and returns
// until when the number may be remembered.
func (c *Client) redeemForAll(ctx context.Context, key redemptionKey) (*PhoneInfo, time.Time, error) {
	d := c.duplicates
	if d.shared != nil {
		return c.redeemAmongProcesses(ctx, key)
	}
	phone, err := c.redeem(ctx, key)
	if err != nil || d.window == 0 {
		return phone, time.Time{}, err
	}
	return phone, time.Now().Add(d.window), nil
}

// leave ends a redemption, or passes it on if it was given up.
func (d *duplicates) leave(r *redemption, end ending) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if end.phone == nil && end.err == nil && r.waiting > 0 {
		r.maybeUsed = r.maybeUsed || end.maybeUsed
		r.baton <- struct{}{}
		return
	}
	d.remove(r)
	if end.phone != nil && d.window > 0 {
		d.remember(r.key, *end.phone, end.until)
	}
	if r.done == nil {
		r.key, r.next = redemptionKey{}, d.free
		d.free = r
		return
	}
	r.err = end.err
	if end.phone != nil {
		copied := *end.phone // the caller may change its own
		r.phone = &copied
	}
	close(r.done)
}

// remember keeps a number and lets go of those that are out of date, and of the
// oldest one if there are too many.
func (d *duplicates) remember(key redemptionKey, phone PhoneInfo, until time.Time) {
	now := time.Now()
	for d.oldest != nil && (len(d.redeemed) >= maxRemembered || !now.Before(d.oldest.until)) {
		old := d.oldest
		d.oldest = old.next
		if d.redeemed[old.key] == old { // or the code came back from a store
			delete(d.redeemed, old.key)
		}
	}
	if d.redeemed == nil {
		d.redeemed = make(map[redemptionKey]*remembered)
	}
	// The strings may be parts of whole request bodies.
	key = redemptionKey{code: strings.Clone(key.code), openID: strings.Clone(key.openID)}
	added := &remembered{key: key, phone: phone, until: until}
	if d.oldest == nil {
		d.oldest = added
	} else {
		d.latest.next = added
	}
	d.latest = added
	d.redeemed[key] = added
}

// isCallersOwn reports whether err is about the end of the caller's own ctx and
// so tells other callers nothing. A deadline may show in the network before it
// shows in ctx.
func isCallersOwn(ctx context.Context, err error) bool {
	deadline, limited := ctx.Deadline()
	if ctx.Err() == nil && (!limited || time.Now().Before(deadline)) {
		return false
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	// With a cause of its own, net/http returns that in place of ctx.Err.
	return !isVerdict(err)
}

// isVerdict reports whether err is what WeChat said.
func isVerdict(err error) bool {
	var refusal *APIError
	var notAnswer *ResponseError
	return errors.As(err, &refusal) || errors.As(err, &notAnswer) ||
		errors.Is(err, ErrNoPhoneNumber) || errors.Is(err, ErrWatermark) || errors.Is(err, ErrAPISecurity)
}

const (
	// duplicateStoreLimit bounds each call of a store: one that hangs is down.
	duplicateStoreLimit = time.Second
	// duplicateStorePause is how long a store is left alone that was down.
	duplicateStorePause = time.Second

	// redemptionLease is how long the others wait for a process that died with
	// the lock, and redemptionWait how long for any number of them.
	redemptionLease = 15 * time.Second
	redemptionWait  = redemptionLease + time.Second
	redemptionPoll  = 100 * time.Millisecond

	// clockSkew is how far another process's clock may be ahead.
	clockSkew = 5 * time.Minute
)

// sharedResults is a DuplicateStore as a Client calls it.
type sharedResults struct {
	store  DuplicateStore
	appID  string
	window time.Duration
	log    *slog.Logger

	mu      sync.Mutex
	down    bool
	retryAt time.Time // when a store that is down is tried again
	running int       // calls of the store that have not returned
}

// sharedResult is what is sealed.
type sharedResult struct {
	Phone      PhoneInfo `json:"phone"`
	RedeemedAt time.Time `json:"redeemed_at"`
}

// redeemAmongProcesses redeems a code unless another process has done so.
func (c *Client) redeemAmongProcesses(ctx context.Context, key redemptionKey) (*PhoneInfo, time.Time, error) {
	s := c.duplicates.shared
	box := sealed.NewBox(s.appID, key.openID, key.code)
	found, unlock, err := s.await(ctx, box)
	if unlock != nil {
		defer unlock()
	}
	if err != nil {
		return nil, time.Time{}, err
	}
	if found != nil {
		c.logDuplicate(ctx, "the store")
		return &found.Phone, found.RedeemedAt.Add(s.window), nil
	}
	phone, err := c.redeem(ctx, key)
	if err != nil {
		return nil, time.Time{}, err
	}
	now := time.Now()
	s.save(ctx, box, sharedResult{Phone: *phone, RedeemedAt: now})
	return phone, now.Add(s.window), nil
}

// await returns a code's result if another process has it, waiting for one
// that is about to. Otherwise the caller is to redeem the code, and to call
// unlock, if that is not nil, afterwards. The error is ctx's.
func (s *sharedResults) await(ctx context.Context, box *sealed.Box) (found *sharedResult, unlock func(), err error) {
	for giveUp := time.Now().Add(redemptionWait); ; {
		unlock, ok := s.lock(ctx, box)
		if !ok {
			return nil, nil, s.interrupted(ctx)
		}
		found, ok := s.load(ctx, box)
		if found != nil || unlock != nil || !ok {
			return found, unlock, s.interrupted(ctx)
		}
		if !time.Now().Before(giveUp) {
			s.log.WarnContext(ctx, "wxphone: the lock of the duplicate store does not end, redeeming the code without it")
			return nil, nil, nil
		}
		if transport.Sleep(ctx, redemptionPoll/2+rand.N(redemptionPoll)) != nil { //nolint:gosec // spreads load, guards nothing
			return nil, nil, s.interrupted(ctx)
		}
	}
}

// interrupted returns an error if ctx has ended.
func (s *sharedResults) interrupted(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return fmt.Errorf("wxphone: %s: %w while waiting for the duplicate store", pathGetUserPhoneNumber, ctx.Err())
}

// lock takes the lock of a code's redemption. Without unlock, another process
// has it; ok is false if the store is to be done without.
func (s *sharedResults) lock(ctx context.Context, box *sealed.Box) (unlock func(), ok bool) {
	release, ok := askStore(ctx, s, func(ctx context.Context) (func(context.Context) error, error) {
		release, ok, err := s.store.TryLock(ctx, box.Name, redemptionLease)
		switch {
		case err != nil || !ok:
			return nil, err
		case ctx.Err() != nil: // too late for the caller
			return nil, errors.Join(ctx.Err(), release(context.WithoutCancel(ctx)))
		}
		return release, nil
	})
	if !ok || release == nil {
		return nil, ok
	}
	return func() {
		_, err := callStore(context.WithoutCancel(ctx), s, duplicateStoreLimit, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, release(ctx)
		})
		if err != nil {
			s.log.WarnContext(ctx, "wxphone: lock of the duplicate store not released, it ends by itself",
				"within", redemptionLease.String(), "error", err)
		}
	}, true
}

// load returns a code's result, or nil if there is none. ok is false if the
// store is to be done without.
func (s *sharedResults) load(ctx context.Context, box *sealed.Box) (found *sharedResult, ok bool) {
	value, ok := askStore(ctx, s, func(ctx context.Context) ([]byte, error) { return s.store.LoadResult(ctx, box.Name) })
	if !ok || len(value) == 0 {
		return nil, ok
	}
	result := new(sharedResult)
	text, ok := box.Open(value)
	if !ok || json.Unmarshal(text, result) != nil || result.Phone.PhoneNumber == "" {
		s.log.WarnContext(ctx, "wxphone: passed over a value in the duplicate store that is no result of this code")
		return nil, true
	}
	now := time.Now()
	if ahead := result.RedeemedAt.Sub(now); ahead > clockSkew {
		s.log.WarnContext(ctx, "wxphone: passed over a result in the duplicate store that is from the future", "ahead", ahead.String())
		return nil, true
	} else if ahead > 0 {
		result.RedeemedAt = now
	}
	if now.Sub(result.RedeemedAt) >= s.window {
		return nil, true
	}
	return result, true
}

// save shares a result, even if its caller's ctx has ended: it was paid for.
func (s *sharedResults) save(ctx context.Context, box *sealed.Box, result sharedResult) {
	text, err := json.Marshal(result)
	if err != nil {
		s.log.WarnContext(ctx, "wxphone: result not shared", "error", err)
		return
	}
	value, err := box.Seal(text)
	if err != nil {
		s.log.WarnContext(ctx, "wxphone: result not shared", "error", err)
		return
	}
	askStore(context.WithoutCancel(ctx), s, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.store.SaveResult(ctx, box.Name, value, s.window)
	})
}

// askStore calls a store that is up, and reports whether that went well.
func askStore[T any](ctx context.Context, s *sharedResults, call func(context.Context) (T, error)) (T, bool) {
	var none T
	if !s.isUp() {
		return none, false
	}
	limit := duplicateStoreLimit
	if deadline, ok := ctx.Deadline(); ok {
		limit = max(min(limit, time.Until(deadline)/3), 1)
	}
	value, err := callStore(ctx, s, limit, call)
	switch {
	case err == nil:
		s.setDown(false)
		return value, true
	case ctx.Err() != nil:
		return none, false // the caller's own
	case limit == duplicateStoreLimit || !errors.Is(err, context.DeadlineExceeded):
		s.setDown(true)
	}
	s.log.WarnContext(ctx, "wxphone: duplicate store is down, doing without it", "error", err)
	return none, false
}

// callStore returns within limit whatever the store does.
func callStore[T any](ctx context.Context, s *sharedResults, limit time.Duration, call func(context.Context) (T, error)) (T, error) {
	s.count(1)
	return guarded.Call(ctx, &guarded.Code{Name: "the duplicate store", Limit: limit}, func(ctx context.Context) (T, error) {
		defer s.count(-1)
		return call(ctx)
	})
}

// isUp reports whether the store may be asked. One that was down is asked again
// by one call at a time, after a pause; one that never returns, never again.
func (s *sharedResults) isUp() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.down || s.running == 0 && !time.Now().Before(s.retryAt)
}

func (s *sharedResults) setDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
	s.retryAt = time.Now().Add(duplicateStorePause)
}

func (s *sharedResults) count(calls int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running += calls
}
