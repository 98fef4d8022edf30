package tokenhttp

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/wxphone/wxphone"
)

const (
	// maxReport bounds the body of a POST. A token of WeChat's has about 150
	// bytes.
	maxReport = 4 << 10

	// sourceLimit bounds what the source does for one request. It is shorter
	// than the time that a Source waits, so that the Source gets an answer.
	sourceLimit = 8 * time.Second
)

// What the "error" of an answer says.
const (
	codeNoToken     = "no_token"
	codeUnsupported = "unsupported"
	codeBadRequest  = "bad_request"
	codeTooLarge    = "too_large"
)

// answer is the body of a 200.
type answer struct {
	AccessToken string `json:"access_token"`
	ExpiresIn   int64  `json:"expires_in,omitempty"`
}

// report is the body of a POST.
type report struct {
	AccessToken string `json:"access_token"`
}

// failure is the body of a failure. Of the error behind it, only WeChat's own
// errcode is told.
type failure struct {
	Error    string `json:"error"`
	ErrCode  int    `json:"errcode,omitempty"`
	Endpoint string `json:"endpoint,omitempty"`
}

// handler keeps the key's digest behind a pointer, so that no fmt verb prints
// it along with a struct that holds the handler.
type handler struct { //nolint:recvcheck // Format has a value receiver, so that a copied handler prints nothing either
	source wxphone.TokenSource
	key    *digest
}

// NewHandler returns a handler that serves the tokens of src to those who have
// the key. The package's comment describes what it answers. Mount it at any
// path.
//
// Every request asks src, so src should cache: take a Client's token, or wrap
// the source in [wxphone.CacheTokens]. It should be a
// [wxphone.TokenInvalidator] too, as both of these are. Without that the
// handler answers 501 to the report of a refused token, because src may go on
// handing it out.
//
// The key has 32 bytes or more of visible ASCII; take random ones. It is
// compared in constant time. To change it, mount a second handler with the next
// key at another path until all programs use that.
//
// The handler logs nothing, and its answers do not tell why src failed beyond
// WeChat's errcode. Give the Client [wxphone.WithLogger], or the cache
// [wxphone.WithCacheLogger].
func NewHandler(src wxphone.TokenSource, key string) (http.Handler, error) {
	if f, ok := src.(wxphone.TokenSourceFunc); src == nil || ok && f == nil {
		return nil, invalid("src", "is nil")
	}
	if err := checkKey(key); err != nil {
		return nil, err
	}
	sum := digest(sha256.Sum256([]byte(key)))
	return &handler{src, &sum}, nil
}

// Format implements [fmt.Formatter]: no verb prints what is in the handler.
func (h handler) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "tokenhttp.NewHandler") }

// ServeHTTP implements [http.Handler].
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.key.matches(r.Header) {
		w.Header().Set("WWW-Authenticate", scheme)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	ctx, cancel := context.WithTimeout(r.Context(), sourceLimit)
	defer cancel()
	switch r.Method {
	case http.MethodGet:
		h.serveToken(ctx, w)
	case http.MethodPost:
		h.takeReport(ctx, w, r)
	default:
		w.Header().Set("Allow", "GET, POST")
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}

func (h *handler) serveToken(ctx context.Context, w http.ResponseWriter) {
	token, err := h.source.Token(ctx)
	if err != nil {
		failFor(w, err)
		return
	}
	now := time.Now()
	if token.AccessToken == "" || !token.ExpiresAt.IsZero() && !now.Before(token.ExpiresAt) {
		failFor(w, errBadToken)
		return
	}
	body := answer{AccessToken: token.AccessToken}
	if !token.ExpiresAt.IsZero() {
		body.ExpiresIn = int64(token.ExpiresAt.Sub(now) / time.Second)
	}
	write(w, http.StatusOK, body)
}

// errBadToken is not told to anybody; failFor answers it as any other error.
var errBadToken = errors.New("tokenhttp: the token source returned an empty or expired token")

func (h *handler) takeReport(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	invalidator, ok := h.source.(wxphone.TokenInvalidator)
	if !ok {
		write(w, http.StatusNotImplemented, failure{Error: codeUnsupported})
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxReport))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		write(w, http.StatusRequestEntityTooLarge, failure{Error: codeTooLarge})
		return
	}
	var refused report
	if err != nil || json.Unmarshal(body, &refused) != nil || refused.AccessToken == "" {
		write(w, http.StatusBadRequest, failure{Error: codeBadRequest})
		return
	}
	if err := invalidator.InvalidateToken(ctx, refused.AccessToken); err != nil {
		failFor(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// failFor answers for an error of the source without its text, which may tell
// about the owner's systems.
func failFor(w http.ResponseWriter, err error) {
	body := failure{Error: codeNoToken}
	var refusal *wxphone.APIError
	if errors.As(err, &refusal) {
		body.ErrCode = refusal.Code
		if isEndpoint(refusal.Endpoint) {
			body.Endpoint = refusal.Endpoint
		}
	}
	status := http.StatusBadGateway
	if mayPass(err) {
		status = http.StatusServiceUnavailable
		if wait := retryAfter(err); wait > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(wait))
		}
	}
	write(w, status, body)
}

// mayPass reports whether a later request may succeed though nobody mends
// anything.
func mayPass(err error) bool {
	switch wxphone.HTTPStatus(err) {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	default:
		return false
	}
}

// retryAfter returns the seconds after which another request may succeed, or 0
// if nobody can tell.
func retryAfter(err error) int {
	switch {
	case errors.Is(err, wxphone.ErrRateLimited):
		return 60 // WeChat counts by the minute
	case errors.Is(err, wxphone.ErrQuotaExhausted):
		return 0
	default:
		return 1 // the first pause of CacheTokens
	}
}

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // what fails here is the connection
}
