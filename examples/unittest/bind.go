// Package unittest shows three ways to test code that uses wxphone. The code is
// a handler that binds a phone number to a user; its tests use package
// wxphonetest, httpmock and a stub:
//
//	go test -v ./examples/unittest
package unittest

import (
	"context"
	"encoding/json"
	"log"
	"net/http"
	"time"

	"github.com/wxphone/wxphone"
)

// PhoneGetter is what BindPhone needs of a *wxphone.Client. An interface
// belongs to the package that uses it: it names one method instead of all, and
// a stub for a test is three lines.
type PhoneGetter interface {
	GetPhoneNumber(ctx context.Context, code string, opts ...wxphone.PhoneOption) (*wxphone.PhoneInfo, error)
}

var _ PhoneGetter = (*wxphone.Client)(nil)

// Numbers keeps the users' phone numbers.
type Numbers interface {
	SetNumber(ctx context.Context, userID, e164 string) error
}

// BindPhone takes {"code": "..."} from the mini-program and saves the number
// for the user whom currentUser finds, in your session or token.
func BindPhone(phones PhoneGetter, numbers Numbers, currentUser func(*http.Request) (id string, ok bool)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		userID, ok := currentUser(r)
		if !ok {
			http.Error(w, "log in first", http.StatusUnauthorized)
			return
		}
		var body struct {
			Code string `json:"code"`
		}
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&body); err != nil {
			http.Error(w, `send {"code": "..."}`, http.StatusBadRequest)
			return
		}
		// A code works once. Finish and save the number even if the caller hangs up.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 10*time.Second)
		defer cancel()
		phone, err := phones.GetPhoneNumber(ctx, body.Code)
		if err != nil {
			log.Print(err) // holds no secret and no number
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(wxphone.HTTPStatus(err))
			_ = json.NewEncoder(w).Encode(map[string]wxphone.Step{"step": wxphone.NextStep(err)})
			return
		}
		number := phone.E164()
		if number == "" {
			number = phone.PhoneNumber // as WeChat wrote it
		}
		if err := numbers.SetNumber(ctx, userID, number); err != nil {
			log.Print("saving a phone number: ", err)
			http.Error(w, "not saved", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"phone": phone.String()}) // masked
	}
}
