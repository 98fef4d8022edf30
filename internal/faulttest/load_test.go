package faulttest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/wxphone/wxphone"
)

// One call in five loses its connection: half of those before the effect, half
// after. A quarter of the first half loses it twice.
func TestTwoHundredCallersOfWhomAFifthLoseTheirConnection(t *testing.T) {
	checkLeaks(t)
	f := newFront(t)
	client := f.warmClient(t)
	const callers = 200
	faults := map[string][]fault{} // by code, one for each attempt
	var codes []string
	for i := range callers {
		code := f.fake.IssueCode(numbered(i))
		codes = append(codes, code)
		switch i % 40 {
		case 0:
			faults[code] = []fault{resetBefore, closeBefore}
		case 5, 10:
			faults[code] = []fault{resetBefore}
		case 15:
			faults[code] = []fault{closeBefore}
		case 20, 25:
			faults[code] = []fault{resetAfter}
		case 30, 35:
			faults[code] = []fault{closeAfter}
		}
	}
	f.planFor(func(a *arrival) fault {
		if planned := faults[a.code]; a.attempt <= len(planned) {
			return planned[a.attempt-1]
		}
		return nil
	})
	var books ledger
	var group sync.WaitGroup
	failures := make([]error, callers)
	for i, code := range codes {
		group.Add(1)
		go func() {
			defer group.Done()
			info, err := client.GetPhoneNumber(context.Background(), code)
			if err == nil {
				assert.Equal(t, numbered(i).PhoneNumber, info.PhoneNumber, "somebody else's number")
			}
			failures[i] = err
		}()
	}
	group.Wait()
	assert.Equal(t, 1, f.fake.TokenFetches())
	for i, code := range codes {
		books.issue()
		books.book(t, f.fake, code, failures[i])
	}
	books.want(t, 180, 20, 0)
	for _, err := range books.errors {
		assert.ErrorIs(t, err, wxphone.ErrCodeInvalid)
		assert.ErrorContains(t, err, "the first attempt may have consumed the code")
		var refusal *wxphone.APIError
		assert.True(t, errors.As(err, &refusal))
	}
	f.requireIdle(t)
	idle, _ := f.idle()
	assert.LessOrEqual(t, len(idle), callers)
}
