package faulttest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// ledger accounts for every code that was issued.
type ledger struct {
	mu       sync.Mutex
	issued   int
	obtained int
	consumed int     // WeChat has taken the code, the caller has an error
	unused   int     // the caller has an error, but the code still works: an attempt more was worth it
	errors   []error // in the order in which they came
}

// numbered is somebody whose number nobody else has.
func numbered(n int) wxphone.PhoneInfo {
	number := fmt.Sprintf("1%010d", n)
	return wxphone.PhoneInfo{PhoneNumber: number, PurePhoneNumber: number, CountryCode: "86"}
}

// issue counts a code and returns its number.
func (l *ledger) issue() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.issued++
	return l.issued
}

// redeem calls GetPhoneNumber with a new code and books the outcome.
func (l *ledger) redeem(ctx context.Context, t *testing.T, fake *wxphonetest.Server, client *wxphone.Client, opts ...wxphone.PhoneOption) error {
	t.Helper()
	somebody := numbered(l.issue())
	code := fake.IssueCode(somebody)
	info, err := client.GetPhoneNumber(ctx, code, opts...)
	if err == nil {
		assert.Equal(t, somebody.PhoneNumber, info.PhoneNumber, "somebody else's number")
	}
	l.book(t, fake, code, err)
	return err
}

// book asks the fake itself whether a failed call's code still works: then a
// further attempt could have saved it.
func (l *ledger) book(t *testing.T, fake *wxphonetest.Server, code string, err error) {
	t.Helper()
	stillWorks := false
	if err != nil {
		assertTyped(t, err)
		_, again := fake.NewClient().GetPhoneNumber(context.Background(), code)
		stillWorks = again == nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		l.obtained++
		return
	case stillWorks:
		l.unused++
	default:
		l.consumed++
	}
	l.errors = append(l.errors, err)
}

// assertTyped holds err to what GetPhoneNumber's documentation promises.
func assertTyped(t *testing.T, err error) {
	t.Helper()
	var refusal *wxphone.APIError
	var foreign *wxphone.ResponseError
	var network *url.Error
	typed := errors.As(err, &refusal) || errors.As(err, &foreign) || errors.As(err, &network) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	assert.Truef(t, typed, "no typed error: %v", err)
	assert.NotEqualf(t, 500, wxphone.HTTPStatus(err), "an error that HTTPStatus does not know: %v", err)
}

// want compares the whole account.
func (l *ledger) want(t *testing.T, obtained, consumed, unused int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	t.Logf("issued %d: obtained %d, consumed without an answer %d, given up unused %d", l.issued, l.obtained, l.consumed, l.unused)
	for i, err := range l.errors {
		if i == 3 {
			t.Logf("and %d errors more", len(l.errors)-i)
			break
		}
		t.Log(err)
	}
	assert.Equal(t, obtained, l.obtained, "numbers obtained")
	assert.Equal(t, consumed, l.consumed, "codes consumed without an answer")
	assert.Equal(t, unused, l.unused, "codes given up that still worked")
}

// checkLeaks fails the test if it ends with more goroutines than it began
// with. Call it first, so that it looks last, and in no test that runs beside
// others: those are left to TestMain.
func checkLeaks(t *testing.T) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		if err := findLeaks(before); err != nil {
			t.Errorf("goroutines leaked: %v", err)
		}
	})
}

func findLeaks(opts ...goleak.Option) error {
	// A dial that nobody waits for any more ends with its own timeout.
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := goleak.Find(opts...)
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}
