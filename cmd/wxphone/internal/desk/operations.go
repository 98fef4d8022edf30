package desk

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// operation is what one method of one path does.
type operation struct {
	serve func(*Desk, http.ResponseWriter, *http.Request)
	// request and answer are values of the types of the two bodies, or nil
	// where there is none or it is no JSON. openapi.json describes them.
	request, answer any
}

// byMethod is what one path does.
type byMethod map[string]operation

func (m byMethod) allow() string { return strings.Join(slices.Sorted(maps.Keys(m)), ", ") }

// operations has every path below Prefix. A subject that is added brings its
// own file and its rows here.
var operations map[string]byMethod

func init() {
	operations = map[string]byMethod{
		"":             {http.MethodGet: {serve: (*Desk).servePage}},
		"openapi.json": {http.MethodGet: {serve: (*Desk).serveOpenAPI}},

		"health": {http.MethodGet: reading((*Desk).health)},
		"info":   {http.MethodGet: reading((*Desk).info)},

		"codes":               {http.MethodPost: taking((*Desk).issueCode)},
		"login-codes":         {http.MethodPost: taking((*Desk).issueLoginCode)},
		"encrypted":           {http.MethodPost: taking((*Desk).encrypt)},
		"cloud-ids":           {http.MethodPost: taking((*Desk).issueCloudID)},
		"session-keys/rotate": {http.MethodPost: taking((*Desk).rotateSessionKey)},
		"tokens/revoke":       {http.MethodPost: taking((*Desk).revokeTokens)},
		"reset":               {http.MethodPost: taking((*Desk).reset)},

		"faults": {
			http.MethodGet: reading((*Desk).faults),
			http.MethodPut: taking((*Desk).setFault),
		},
		"latency": {http.MethodPut: taking((*Desk).setLatency)},

		"platform/authorizations": {http.MethodPost: taking((*Desk).authorize)},
		"platform/tickets":        {http.MethodPost: taking((*Desk).pushTicket)},
		"platform/withdrawals":    {http.MethodPost: taking((*Desk).withdraw)},

		"platform/pushes/repeat":         {http.MethodPost: taking((*Desk).repeatPush)},
		"platform/refresh-tokens/revoke": {http.MethodPost: taking((*Desk).revokeRefreshTokens)},

		"requests": {http.MethodGet: reading((*Desk).requests)},
		"events":   {http.MethodGet: {serve: (*Desk).serveEvents}},
	}
}

// reading returns an operation that takes no body.
func reading[Answer any](read func(*Desk) Answer) operation {
	var answer Answer
	return operation{answer: answer, serve: func(d *Desk, w http.ResponseWriter, _ *http.Request) {
		write(w, http.StatusOK, read(d))
	}}
}

// taking returns an operation that takes a JSON object.
func taking[Request, Answer any](do func(*Desk, Request) (Answer, error)) operation {
	var request Request
	var answer Answer
	return operation{request: request, answer: answer, serve: func(d *Desk, w http.ResponseWriter, r *http.Request) {
		var request Request
		if err := decode(r.Body, &request); err != nil {
			writeError(w, http.StatusBadRequest, err.Error())
			return
		}
		answer, err := do(d, request)
		if err != nil {
			writeError(w, http.StatusBadRequest, err.Error())
			return
		}
		write(w, http.StatusOK, answer)
	}}
}

// failure is the body of every answer that is no success.
type failure struct {
	Error string `json:"error"`
}

func writeError(w http.ResponseWriter, status int, text string) { write(w, status, failure{text}) }

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(body) // what fails here is the connection
}

func quote(text string) string { return strconv.Quote(text) }
