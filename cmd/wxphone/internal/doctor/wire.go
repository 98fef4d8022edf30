package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/internal/redact"
)

// wire is the HTTP client of all checks. It notes what time the answers say.
type wire struct {
	base http.RoundTripper

	mu    sync.Mutex
	known bool
	ahead time.Duration
}

func newWire() *wire { return &wire{base: http.DefaultTransport} }

func (w *wire) client() *http.Client {
	return &http.Client{
		Transport: w,
		Timeout:   15 * time.Second,
		// A redirect would carry the access_token to another host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := w.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		w.mu.Lock()
		w.known, w.ahead = true, time.Since(date)
		w.mu.Unlock()
	}
	return response, nil
}

// clockAhead returns how far this machine's clock is ahead of WeChat's.
func (w *wire) clockAhead() (ahead time.Duration, known bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ahead, w.known
}

// call calls an API that wxphone does not cover, with wxphone's token. It shows
// what such a call has to do: take the token anew for each attempt, report one
// that WeChat refused, repeat the call once, and keep the URL out of errors.
func (d *doctor) call(ctx context.Context, endpoint string, body, answer any) error {
	token, err := d.client.AccessToken(ctx)
	if err != nil {
		return err
	}
	err = d.callOnce(ctx, endpoint, token.AccessToken, body, answer)
	var refusal *wxphone.APIError
	if !errors.As(err, &refusal) || refusal.Kind() != wxphone.KindTokenRejected {
		return err
	}
	if err := d.client.InvalidateAccessToken(ctx, token.AccessToken); err != nil {
		return err
	}
	next, err := d.client.AccessToken(ctx)
	if err != nil {
		return err
	}
	if next.AccessToken == token.AccessToken {
		return refusal // the same token would be refused again
	}
	return d.callOnce(ctx, endpoint, next.AccessToken, body, answer)
}

func (d *doctor) callOnce(ctx context.Context, endpoint, token string, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	// A bytes.Reader gives the request a Content-Length; WeChat takes no other.
	request, err := http.NewRequestWithContext(ctx, http.MethodPost,
		d.cfg.baseURL+endpoint+"?access_token="+url.QueryEscape(token), bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("%s: no request", endpoint) // err may hold the URL
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := d.wire.client().Do(request)
	var withURL *url.Error
	if errors.As(err, &withURL) {
		err = withURL.Err
	}
	if err != nil {
		return fmt.Errorf("%s: %w", endpoint, redact.NetworkError(err, []string{token}))
	}
	defer response.Body.Close()
	text, err = io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("%s: %w", endpoint, redact.NetworkError(err, []string{token}))
	}
	var status struct {
		Errcode int32  `json:"errcode"`
		Errmsg  string `json:"errmsg"`
	}
	if err := json.Unmarshal(text, &status); err != nil {
		return fmt.Errorf("%s: HTTP %d without WeChat's JSON", endpoint, response.StatusCode)
	}
	if status.Errcode != 0 {
		return &wxphone.APIError{
			Endpoint:   endpoint,
			Code:       int(status.Errcode),
			Message:    redact.Text(status.Errmsg, []string{token}),
			HTTPStatus: response.StatusCode,
		}
	}
	if json.Unmarshal(text, answer) != nil { // its error quotes numbers
		return fmt.Errorf("%s: an answer of another form", endpoint)
	}
	return nil
}

// errcode returns the errcode in err, or 0.
func errcode(err error) int {
	var refusal *wxphone.APIError
	if errors.As(err, &refusal) {
		return refusal.Code
	}
	return 0
}
