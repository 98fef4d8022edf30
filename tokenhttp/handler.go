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
	"github.com/wxphone/wxphone/internal/redact"
)

const (
	// maxReport is the largest accepted body of a POST, in bytes. WeChat's
	// tokens have about 150 bytes.
	maxReport = 4 << 10

	// sourceLimit is the longest duration of a call of the source. It is
	// shorter than the timeout of a Source, so that the Source gets an answer.
	sourceLimit = 8 * time.Second
)

// Values of "error" in an answer.
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

// failure is the body of a failure. It contains no text of the error, only
// WeChat's errcode and endpoint.
type failure struct {
	Error    string `json:"error"`
	ErrCode  int    `json:"errcode,omitempty"`
	Endpoint string `json:"endpoint,omitempty"`
}

type handler struct { //nolint:recvcheck // Format has a value receiver, so that a copied handler prints nothing
	source wxphone.TokenSource
	key    redact.Hidden[digest]
}

// NewHandler returns a handler that serves the tokens of src to clients that
// have the key. See the package documentation for its answers. It can be
// mounted at any path.
//
// The handler calls src for every request, so src should cache: use
// [wxphone.Client.TokenSource], or wrap a source in [wxphone.CacheTokens]. It
// should also implement [wxphone.TokenInvalidator], as both of these do.
// Otherwise the handler answers 501 to a report of a rejected token, because src
// may continue to return it.
//
// The key must have at least 32 bytes of visible ASCII, and should be random.
// It is compared in constant time. To change it, mount a second handler with
// the new key at another path until all programs use that one.
//
// The handler logs nothing, and its answers contain no cause of a failure
// except WeChat's errcode. For a log, use [wxphone.WithLogger] or
// [wxphone.WithCacheLogger].
func NewHandler(src wxphone.TokenSource, key string) (http.Handler, error) {
	if f, ok := src.(wxphone.TokenSourceFunc); src == nil || ok && f == nil {
		return nil, invalid("src", "is nil")
	}
	if err := checkKey(key); err != nil {
		return nil, err
	}
	return &handler{src, redact.Conceal(digest(sha256.Sum256([]byte(key))))}, nil
}

// Format implements [fmt.Formatter]. No verb prints the content of the handler.
func (h handler) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "tokenhttp.NewHandler") }

// ServeHTTP implements [http.Handler].
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.key.Reveal().matches(r.Header) {
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

// errBadToken is not sent to clients; failFor answers it like any other error.
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

// failFor writes the answer for an error of the source. It omits the text of
// err, which may describe the owner's systems.
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

// mayPass reports whether a later request may succeed without a change of
// settings.
func mayPass(err error) bool {
	switch wxphone.HTTPStatus(err) {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	default:
		return false
	}
}

// retryAfter returns the number of seconds after which another request may
// succeed, or 0 if it is not known.
func retryAfter(err error) int {
	switch {
	case errors.Is(err, wxphone.ErrRateLimited):
		return 60 // WeChat counts per minute
	case errors.Is(err, wxphone.ErrQuotaExhausted):
		return 0
	default:
		return 1 // the first pause of CacheTokens
	}
}

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // only the connection can fail
}
