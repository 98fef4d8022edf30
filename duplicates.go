package wxphone

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"strings"
	"sync"
	"time"
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
