package faulttest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
)

// pageBefore answers as a gateway does whose backend it did not reach.
func pageBefore(status int) fault {
	return func(a *arrival) {
		a.w.Header().Set("Content-Type", "text/html")
		a.w.WriteHeader(status)
		fmt.Fprintf(a.w, "<html><h1>%d %s</h1></html>", status, http.StatusText(status))
	}
}

// refuse answers as WeChat does, without an effect.
func refuse(errcode int) fault {
	return func(a *arrival) { fmt.Fprintf(a.w, `{"errcode":%d,"errmsg":"no"}`, errcode) }
}

// truncatedAfter sends all but the end of the answer, and truncatedBefore as
// much of an answer that the request has not led to.
func truncatedAfter(a *arrival) {
	answer := a.process().Body.Bytes()
	sendPart(a, answer[:len(answer)-2], len(answer))
}

func truncatedBefore(a *arrival) {
	sendPart(a, []byte(`{"errcode":0,"errmsg":"ok","phone_info":`), 200)
}

func sendPart(a *arrival, part []byte, announced int) {
	a.w.Header().Set("Content-Length", strconv.Itoa(announced))
	_, _ = a.w.Write(part)
	_ = http.NewResponseController(a.w).Flush()
	panic(http.ErrAbortHandler)
}

// cutChunks is an answer without a length whose last chunk does not come.
func cutChunks(a *arrival) {
	_, _ = io.WriteString(a.w, `{"errcode":0,"errmsg":"ok","phone_info":`)
	_ = http.NewResponseController(a.w).Flush()
	panic(http.ErrAbortHandler)
}

// cutHeader breaks off in the middle of the answer's header.
func cutHeader(a *arrival) {
	conn, buffered, err := http.NewResponseController(a.w).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	_, _ = buffered.WriteString("HTTP/1.1 200 OK\r\nContent-Le")
	_ = buffered.Flush()
}

// garbage is an answer that is no HTTP.
func garbage(a *arrival) {
	conn, buffered, err := http.NewResponseController(a.w).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	_, _ = buffered.WriteString("220 mail.example ESMTP\r\n")
	_ = buffered.Flush()
}

const dripEvery = 50 * time.Millisecond

// dripBody sends a byte of the body now and then, for as long as somebody
// listens. dripHeader does not even get through with the header.
func dripBody(a *arrival) {
	a.w.Header().Set("Content-Length", "100000")
	_, _ = io.WriteString(a.w, `{"errcode":0,"errmsg":"`)
	for sleepIn(a) {
		_, _ = io.WriteString(a.w, "o")
		_ = http.NewResponseController(a.w).Flush()
	}
	panic(http.ErrAbortHandler)
}

func dripHeader(a *arrival) {
	conn, buffered, err := http.NewResponseController(a.w).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	_, _ = buffered.WriteString("HTTP/1.1 200 OK\r\nX-Slow: ")
	for a.front.ended.Err() == nil {
		_, _ = buffered.WriteString("o")
		if buffered.Flush() != nil {
			return
		}
		time.Sleep(dripEvery)
	}
}

// sayNothing keeps the caller waiting for the answer.
func sayNothing(a *arrival) {
	for sleepIn(a) {
		continue // until the caller has gone
	}
	panic(http.ErrAbortHandler)
}

func sleepIn(a *arrival) (listening bool) {
	select {
	case <-time.After(dripEvery):
		return true
	case <-a.r.Context().Done():
		return false
	case <-a.front.ended.Done():
		return false
	}
}

// after makes a fault come too late: the request has taken effect.
func after(broken fault) fault {
	return func(a *arrival) {
		a.process()
		broken(a)
	}
}

// faultsBefore leave a request without effect: a further attempt saves the
// code.
var faultsBefore = map[string]fault{
	"reset":                     resetBefore,
	"closed":                    closeBefore,
	"502 page":                  pageBefore(http.StatusBadGateway),
	"503 page":                  pageBefore(http.StatusServiceUnavailable),
	"504 page":                  pageBefore(http.StatusGatewayTimeout),
	"body shorter than told":    truncatedBefore,
	"last chunk missing":        cutChunks,
	"header broken off":         cutHeader,
	"something that is no HTTP": garbage,
}

func TestFaultsBeforeTheEffectAreHealedUnseen(t *testing.T) {
	checkLeaks(t)
	for name, broken := range faultsBefore {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t)
			client := f.warmClient(t)
			var books ledger
			for times := range 3 { // as often as two retries can bear
				for range times {
					f.next(phonePath, broken)
				}
				books.redeem(context.Background(), t, f.fake, client)
			}
			books.want(t, 3, 0, 0)
			f.requireIdle(t)
			assert.Equal(t, 3, f.fake.Requests(phonePath), "none of the broken ones got through")
		})
	}
}

func TestFaultsOfTheTokenEndpointCostNoCode(t *testing.T) {
	checkLeaks(t)
	for name, broken := range faultsBefore {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t)
			f.next(stablePath, broken, after(broken))
			var books ledger
			books.redeem(context.Background(), t, f.fake, f.client(t))
			books.want(t, 1, 0, 0)
			f.requireIdle(t)
		})
	}
}

func TestFaultsAfterTheEffectAreToldApart(t *testing.T) {
	checkLeaks(t)
	for name, broken := range faultsBefore {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t)
			client := f.warmClient(t)
			f.next(phonePath, after(broken))
			var books ledger
			err := books.redeem(context.Background(), t, f.fake, client)
			require.ErrorIs(t, err, wxphone.ErrCodeInvalid)
			assert.ErrorContains(t, err, "the first attempt may have consumed the code")
			assert.Equal(t, http.StatusBadRequest, wxphone.HTTPStatus(err))
			books.want(t, 0, 1, 0)
			f.requireIdle(t)
		})
	}
}

func TestAnswerWithoutItsEndIsNoNumber(t *testing.T) {
	checkLeaks(t)
	f := newFront(t)
	client := f.warmClient(t)
	f.next(phonePath, truncatedAfter)
	var books ledger
	err := books.redeem(context.Background(), t, f.fake, client)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.ErrorIs(t, err, wxphone.ErrCodeInvalid)
	books.want(t, 0, 1, 0)
	f.requireIdle(t)
}

// Whatever the last attempt meets, the caller must learn that the code may be
// gone, or will offer it again in vain.
func TestEveryErrorAfterALostAnswerSaysThatTheCodeMayBeGone(t *testing.T) {
	checkLeaks(t)
	for name, last := range map[string][]fault{
		"rate limited":        {refuse(45011)},
		"busy to the end":     {refuse(-1), refuse(-1)},
		"token refused twice": {refuse(40001), refuse(40001)},
		"page to the end":     {pageBefore(502), pageBefore(502)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t)
			client := f.warmClient(t)
			f.next(phonePath, func(a *arrival) {
				a.process()
				f.fake.RevokeToken() // so that a refused token is followed by another
				resetBefore(a)
			})
			f.next(phonePath, last...)
			var books ledger
			err := books.redeem(context.Background(), t, f.fake, client)
			require.ErrorIs(t, err, syscall.ECONNRESET, "the lost answer")
			books.want(t, 0, 1, 0)
		})
	}
}

func TestAnOutageLongerThanTheRetriesIsATypedError(t *testing.T) {
	checkLeaks(t)
	for name, broken := range faultsBefore {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t)
			client := f.warmClient(t)
			for range 3 {
				f.next(phonePath, broken)
			}
			var books ledger
			err := books.redeem(context.Background(), t, f.fake, client)
			require.Error(t, err)
			assert.Equal(t, http.StatusBadGateway, wxphone.HTTPStatus(err))
			assert.NotErrorIs(t, err, wxphone.ErrCodeInvalid)
			books.want(t, 0, 0, 1) // the user's next try with this code succeeds
			f.requireIdle(t)
		})
	}
}

func TestADroppedCallIsOverByTheCallersDeadline(t *testing.T) {
	checkLeaks(t)
	for name, broken := range map[string]fault{
		"body drips":   dripBody,
		"header drips": dripHeader,
		"silence":      sayNothing,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t)
			client := f.warmClient(t)
			f.next(phonePath, broken, after(broken))
			var books ledger
			for range 2 {
				ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
				begin := time.Now()
				err := books.redeem(ctx, t, f.fake, client)
				took := time.Since(begin)
				cancel()
				require.ErrorIs(t, err, context.DeadlineExceeded)
				assert.Equal(t, http.StatusGatewayTimeout, wxphone.HTTPStatus(err))
				assert.Less(t, took, 5*time.Second)
			}
			books.want(t, 0, 1, 1)
			f.requireIdle(t)
		})
	}
}
