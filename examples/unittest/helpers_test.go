package unittest_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/examples/unittest"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // the failures below are on purpose
	os.Exit(m.Run())
}

var consented = wxphone.PhoneInfo{
	PhoneNumber:     "13800000000",
	PurePhoneNumber: "13800000000",
	CountryCode:     "86",
}

// database is Numbers for tests.
type database struct {
	numbers map[string]string
	err     error
}

func (d *database) SetNumber(ctx context.Context, userID, e164 string) error {
	if err := errors.Join(ctx.Err(), d.err); err != nil {
		return err
	}
	if d.numbers == nil {
		d.numbers = make(map[string]string)
	}
	d.numbers[userID] = e164
	return nil
}

func alice(*http.Request) (string, bool) { return "alice", true }

func nobody(*http.Request) (string, bool) { return "", false }

// bind sends a body to BindPhone and returns what the mini-program gets.
func bind(phones unittest.PhoneGetter, db *database, user func(*http.Request) (string, bool), body string) (status int, answer string) {
	return bindWhile(context.Background(), phones, db, user, body)
}

// bindWhile is bind for a mini-program that hangs up when ctx ends.
func bindWhile(ctx context.Context, phones unittest.PhoneGetter, db *database, user func(*http.Request) (string, bool), body string) (status int, answer string) {
	request := httptest.NewRequestWithContext(ctx, http.MethodPost, "/phone", strings.NewReader(body))
	recorder := httptest.NewRecorder()
	unittest.BindPhone(phones, db, user)(recorder, request)
	return recorder.Code, strings.TrimSpace(recorder.Body.String())
}
