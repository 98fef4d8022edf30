package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/wxphone/wxphone"
)

// newRouter has a route for each of those who call: WeChat, the owner's
// browser, and the backend of a mini-program. site is where browsers reach it.
func newRouter(p *platform, pushes *wxphone.PushReader, site string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/wechat/events", pushes.Handler(p.onPush))
	mux.HandleFunc("GET /authorize", p.sendToWeChat(site+"/authorized"))
	mux.HandleFunc("GET /authorized", thank)
	mux.HandleFunc("POST /phone", p.postPhone)
	return mux
}

// sendToWeChat takes an owner to the page on which WeChat asks for consent.
// Owners come by a link on one of the platform's pages, so that WeChat sees
// its domain as the Referer. Let only those in who are logged in.
func (p *platform) sendToWeChat(back string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		link, err := p.component.AuthorizationURL(r.Context(), wxphone.AuthorizationLink{RedirectURI: back})
		if err != nil {
			p.fail(w, r, err)
			return
		}
		http.Redirect(w, r, link, http.StatusSeeOther)
	}
}

// thank has nothing to do: the push brings the same code, and says of which
// mini-program it is.
func thank(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, "Thank you. Your mini-program is connected in a moment.\n")
}

// postPhone takes {"appid": "...", "code": "..."}.
func (p *platform) postPhone(w http.ResponseWriter, r *http.Request) {
	var body struct {
		AppID string `json:"appid"`
		Code  string `json:"code"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&body); err != nil {
		http.Error(w, "failed", http.StatusBadRequest)
		return
	}
	phone, err := p.phone(r.Context(), body.AppID, body.Code)
	switch {
	case errors.Is(err, errNotAuthorized):
		http.Error(w, "failed", http.StatusNotFound)
	case err != nil:
		p.fail(w, r, err)
	default:
		// Save phone.E164(), or phone.PhoneNumber if that is "", for the user of your session.
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"phone": phone.String()}) // masked
	}
}

// fail logs an error, which holds no secret and no number.
func (p *platform) fail(w http.ResponseWriter, r *http.Request, err error) {
	p.logger.ErrorContext(r.Context(), "refused", "route", r.Pattern, "error", err, "to_do", advise(err))
	http.Error(w, "failed", wxphone.HTTPStatus(err))
}
