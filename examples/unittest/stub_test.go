package unittest_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/wxphone/wxphone"
)

// With a stub of the interface, wxphone does not run at all. It is for what the
// handler does around the call; what the client does is taken on trust.

// stub is a PhoneGetter that always answers the same.
type stub struct {
	phone *wxphone.PhoneInfo
	err   error
}

func (s stub) GetPhoneNumber(context.Context, string, ...wxphone.PhoneOption) (*wxphone.PhoneInfo, error) {
	return s.phone, s.err
}

func TestStubNumbers(t *testing.T) {
	tests := []struct {
		name        string
		phone       wxphone.PhoneInfo
		saved, sent string
	}{
		{"mainland", consented, "+8613800000000", `{"phone":"+86 138****0000"}`},
		{
			"no country code",
			wxphone.PhoneInfo{PhoneNumber: "13800000000"},
			"13800000000", `{"phone":"138****0000"}`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			db := new(database)
			status, answer := bind(stub{phone: &test.phone}, db, alice, `{"code":"CODE"}`)
			if status != http.StatusOK || answer != test.sent {
				t.Errorf("got %d %s, want 200 %s", status, answer, test.sent)
			}
			if got := db.numbers["alice"]; got != test.saved {
				t.Errorf("saved %q, want %q", got, test.saved)
			}
		})
	}
}

// An error of WeChat's is made as WeChat would name it: by its errcode.
func TestStubErrors(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want int
	}{
		{"user blocked", &wxphone.APIError{Code: 40226}, http.StatusForbidden},
		{"no number", wxphone.ErrNoPhoneNumber, http.StatusBadGateway},
		{"too slow", context.DeadlineExceeded, http.StatusGatewayTimeout},
		{"anything else", errors.New("of another package"), http.StatusInternalServerError},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if status, _ := bind(stub{err: test.err}, new(database), alice, `{"code":"CODE"}`); status != test.want {
				t.Errorf("status %d, want %d", status, test.want)
			}
		})
	}
}

func TestStubAroundTheCall(t *testing.T) {
	phones := stub{phone: &consented}

	t.Run("nobody is logged in", func(t *testing.T) {
		if status, _ := bind(phones, new(database), nobody, `{"code":"CODE"}`); status != http.StatusUnauthorized {
			t.Errorf("status %d, want 401", status)
		}
	})

	t.Run("the body is no JSON", func(t *testing.T) {
		if status, _ := bind(phones, new(database), alice, `code=CODE`); status != http.StatusBadRequest {
			t.Errorf("status %d, want 400", status)
		}
	})

	t.Run("the database is down", func(t *testing.T) {
		db := &database{err: errors.New("down")}
		if status, _ := bind(phones, db, alice, `{"code":"CODE"}`); status != http.StatusInternalServerError {
			t.Errorf("status %d, want 500", status)
		}
	})
}
