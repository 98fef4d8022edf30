// Package leaktest answers requests as a broken or hostile peer would, with
// secrets wherever a client may quote them, and looks for these secrets in what
// the client then says. It is for tests only.
//
// A leak matrix is every request of a program times every answer of [Answers],
// once with secrets of a stranger and once with those of the request itself:
//
//	for _, answer := range leaktest.Answers() {
//		for _, whose := range []leaktest.Whose{leaktest.Strangers, leaktest.Own} {
//			url := leaktest.Serve(t, honest, leaktest.Fault{Endpoint: endpoint, Answer: answer, Whose: whose})
//			told := run(url)
//			if form := leaktest.Tells(told, append(leaktest.StrangersSecrets(), own...)...); form != "" {
//				t.Errorf(…)
//			}
//		}
//	}
package leaktest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"unicode"
)

// TB is what the package needs of a *testing.T.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// What another request's answer holds. No client knows any of it, so nothing but
// its looks gives it away, and Key does not even look like a secret: it is only
// hidden if nothing is quoted.
const (
	Token  = "86_ofAStrangerUJ8oqWfQ0y3bR7dLhVtMgC2sEaP4xN6uTiYwSrDvBmFjKpHzGeQc9"
	Key    = "q7Zx.Pw2"
	Number = "139-1234-5678"
	Digits = "13912345678"
)

// StrangersSecrets returns the secrets of a stranger that no client may tell.
func StrangersSecrets() []string { return []string{Token, Key, Number, Digits} }

// Whose secrets an answer holds.
type Whose int

const (
	// Strangers are those of another request, as on a connection out of step.
	Strangers Whose = iota
	// Own are those of the request that is answered, as gateways echo it.
	Own
)

// Answer is what a peer answers, byte for byte.
type Answer struct {
	Name string
	// raw has {all}, {token}, {key}, {number} and {digits} for secrets, and
	// {json} for all of them inside a JSON string.
	raw string
	// Hidden is whether Key must be hidden too: where the peer's own words are
	// passed on, nobody can know that it is a secret.
	Hidden bool
}

const (
	ok      = "HTTP/1.1 200 OK\r\n"
	found   = "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n"
	chunked = ok + "Transfer-Encoding: chunked\r\n"
)

// malformed are no sound HTTP.
var malformed = []Answer{
	{Name: "a line", raw: "{all}"},
	{Name: "a line of JSON", raw: `{"access_token":"{token}"}`},
	{Name: "a status", raw: "HTTP/1.1 {key} x"},
	{Name: "a long status", raw: "HTTP/1.1 {all}"},
	{Name: "a version", raw: "HTTP/{token} 200 OK"},
	{Name: "a version with a number", raw: "HTTP/{number} 200 OK"},
	{Name: "HTTP/2", raw: "HTTP/2.0 200 {key}\r\nContent-Length: x{key}"},
	{Name: "a header without a colon", raw: ok + "{token} {number}"},
	{Name: "a header with a bad name", raw: ok + "{all}: 1"},
	{Name: "a header with a bad value", raw: ok + "A: {all}\x00"},
	{Name: "a header that begins with spaces", raw: ok + " {all}"},
	{Name: "a later header", raw: ok + "A: 1\r\n{token} {number}: 1"},
	{Name: "Content-Length", raw: ok + "Content-Length: {all}"},
	{Name: "Content-Length of a key", raw: ok + "Content-Length: {key}"},
	{Name: "Content-Length of a number", raw: ok + "Content-Length: {number}"},
	{Name: "a negative Content-Length", raw: ok + "Content-Length: -{digits}"},
	{Name: "two Content-Lengths", raw: ok + "Content-Length: 5\r\nContent-Length: {all}"},
	{Name: "two Content-Lengths of keys", raw: ok + "Content-Length: {key}\r\nContent-Length: {number}"},
	{Name: "Transfer-Encoding", raw: ok + "Transfer-Encoding: {all}"},
	{Name: "Transfer-Encoding of a key", raw: ok + "Transfer-Encoding: {key}"},
	{Name: "two Transfer-Encodings", raw: ok + "Transfer-Encoding: {key}\r\nTransfer-Encoding: {all}"},
	{Name: "Trailer", raw: chunked + "Trailer: Content-Length, {token}"},
	{Name: "Location", raw: found + "Location: http://h/%zz{all}"},
	{Name: "Location with a port", raw: found + "Location: http://h:{key}/?{token}"},
	{Name: "Location with a bad host", raw: found + "Location: http://[{key}/?{number}"},
	{Name: "Location of nothing but a key", raw: found + "Location: :{key}"},
	{Name: "a chunk's size", raw: chunked + "\r\n{all}\r\n"},
	{Name: "the end of a chunk", raw: chunked + "\r\n3\r\n{\"a{all}\r\n"},
	{Name: "a trailer", raw: chunked + "\r\n2\r\n{}\r\n0\r\n{all}\r\n\r\n"},
	{Name: "a trailer with a bad name", raw: chunked + "\r\n2\r\n{}\r\n0\r\n{key} x: 1\r\n\r\n"},
	{Name: "an answer that is cut short", raw: ok + "Content-Length: 9999\r\n\r\n{all}"},
	{Name: "many interim answers", raw: strings.Repeat("HTTP/1.1 103 {key}\r\nLink: {token}\r\n\r\n", 9)},
	{Name: "another protocol", raw: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n{all}"},
	{Name: "no gzip", raw: ok + "Content-Encoding: gzip\r\nConnection: close\r\n\r\n{json}"},
	{Name: "nothing", raw: ""},
}

// wellFormed are sound HTTP with a strange body: a status and what follows it.
var wellFormed = []struct{ name, status, body string }{
	{"a refusal", "200 OK", `{"errcode":40013,"errmsg":"no {json}"}`},
	{"a refused token", "200 OK", `{"errcode":40001,"errmsg":"{json}"}`},
	{"an address that is not allowed", "200 OK", `{"errcode":40164,"errmsg":"invalid ip {digits}, {json}"}`},
	{"busy", "200 OK", `{"errcode":-1,"errmsg":"{json}"}`},
	{"an unknown errcode", "200 OK", `{"errcode":{digits},"errmsg":"{json}"}`},
	{"an errcode that is a text", "200 OK", `{"errcode":"{json}","errmsg":"{json}"}`},
	{"an errmsg of a screen", "200 OK", `{"errcode":40013,"errmsg":"\u001b[2J\u001b[31m\r\n\u2028{json}\u0007"}`},
	{"a number as rid", "200 OK", `{"errcode":40029,"errmsg":"no rid: {digits}-1-1, hints: [ req_id: {digits} ]"}`},
	{"numbers for counts", "200 OK", `{"errcode":0,"access_token":"t","expires_in":{digits},"quota":{"daily_limit":{digits},"used":{digits},"remain":0},` +
		`"rate_limit":{"call_count":{digits},"refresh_second":{digits}},"request":{"cost_in_ms":{digits},"client_ip":"{json}"}}`},
	{"texts for counts", "200 OK", `{"errcode":0,"access_token":7,"quota":{"daily_limit":"{json}"},"request":{"cost_in_ms":"{json}"}}`},
	{"numbers that do not fit", "200 OK", `{"errcode":0,"access_token":"t","expires_in":{digits}{digits},"quota":{"daily_limit":{digits}{digits}},` +
		`"request":{"cost_in_ms":{digits}.5}}`},
	{"a request that is told", "200 OK", `{"errcode":0,"request":{"cost_in_ms":1,"request_url":"{json}","request_body":"{json}",` +
		`"response_body":"{\"errcode\":40029,\"errmsg\":\"no {token} {digits}\\u001b[31m\"}","client_ip":"\u001b[2J{json}"}}`},
	{"a request of names", "200 OK", `{"errcode":0,"request":{"cost_in_ms":1,"request_url":"/a?{token}=1&{digits}=2",` +
		`"request_body":"{\"{token}\":1,\"{digits}\":2,\"\\u001b[2J\":3}","response_body":"{token}","client_ip":"{digits}"}}`},
	{"a success of a number", "200 OK", `{"errcode":0,"phone_info":{"phoneNumber":"{digits}","watermark":{"appid":"{json}"}}}`},
	{"JSON of a gateway", "403 Forbidden", `{"message":"{json}"}`},
	{"JSON that is cut short", "200 OK", `{"access_token":"{json}`},
	{"a page", "200 OK", "<p>{token} {number}"},
	{"a failed gateway", "502 Bad Gateway", "<p>{token} {number} \x1b[31m"},
	{"a redirect", "302 Found\r\nLocation: /?{token}", ""},
}

// Answers returns all answers.
func Answers() []Answer {
	var all []Answer
	for _, answer := range malformed {
		answer.Hidden = true
		if !strings.Contains(answer.raw, "\r\n\r\n") && answer.raw != "" {
			answer.raw += "\r\n\r\n"
		}
		all = append(all, answer)
	}
	for _, answer := range wellFormed {
		head := "HTTP/1.1 " + answer.status + "\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
		all = append(all, Answer{Name: answer.name, raw: head + answer.body})
	}
	return all
}

// with returns the answer with secrets in it.
func (a Answer) with(s secrets) string {
	inJSON, _ := json.Marshal(s.all) // a string always has a JSON
	return strings.NewReplacer("{all}", s.all, "{json}", string(inJSON[1:len(inJSON)-1]), "{token}", s.token, "{key}", s.key,
		"{number}", Number, "{digits}", Digits).Replace(a.raw)
}

type secrets struct{ all, token, key string }

// secretsOf returns what an answer to r holds.
func (w Whose) secretsOf(r *http.Request, body []byte) secrets {
	if w == Strangers {
		return secrets{all: Token + " " + Key + " " + Number + ` {"phoneNumber":"` + Digits + `"}`, token: Token, key: Key}
	}
	own := []string{r.URL.String()}
	for _, values := range r.URL.Query() {
		own = append(own, values...)
	}
	var sent map[string]any
	if json.Unmarshal(body, &sent) == nil {
		for _, value := range sent {
			own = append(own, fmt.Sprint(value))
		}
	}
	all := strings.Join(own, " ") + " " + string(body)
	// The longest value is the secret: a token, an AppSecret or a code.
	token := ""
	for _, one := range own[1:] {
		if len(one) > len(token) && !strings.ContainsAny(one, " /{}") {
			token = one
		}
	}
	return secrets{all: all, token: token, key: token}
}

// Fault says which requests get which answer.
type Fault struct {
	Endpoint string // the path of the requests
	After    int    // so many requests of the Endpoint are answered honestly before
	Answer   Answer
	Whose    Whose
}

// Serve returns the URL of a server that answers as honest does, but for the
// fault. Every request has a connection of its own.
func Serve(tb TB, honest http.Handler, fault Fault) string {
	tb.Helper()
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("no listener: %v", err)
	}
	tb.Cleanup(func() { _ = listener.Close() })
	var met atomic.Int32
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				answer(conn, honest, fault, &met)
			}()
		}
	}()
	return "http://" + listener.Addr().String()
}

func answer(conn net.Conn, honest http.Handler, fault Fault, met *atomic.Int32) {
	r, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if r.URL.Path == fault.Endpoint && int(met.Add(1)) > fault.After {
		_, _ = io.WriteString(conn, fault.Answer.with(fault.Whose.secretsOf(r, body)))
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	recorder := httptest.NewRecorder()
	honest.ServeHTTP(recorder, r)
	result := recorder.Result()
	result.ContentLength = int64(recorder.Body.Len())
	result.Close = true
	_ = result.Write(conn)
}

// Tells returns the form in which text tells one of secrets, or "". A secret
// with fewer than 4 bytes is in every text and does not count.
func Tells(text string, secrets ...string) string {
	plain := text
	if unescaped, err := url.QueryUnescape(text); err == nil {
		plain += " " + unescaped
	}
	for _, secret := range secrets {
		if len(secret) < 4 {
			continue
		}
		for _, form := range []string{
			secret, url.QueryEscape(secret), strings.ToLower(url.QueryEscape(secret)), url.PathEscape(secret),
			fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), fmt.Sprintf("% x", secret), strings.Trim(fmt.Sprintf("%d", []byte(secret)), "[]"),
		} {
			if strings.Contains(plain, form) {
				return form
			}
		}
	}
	return ""
}

// ControlCharacter returns a character of text that a terminal would act upon,
// other than a line end, or "".
func ControlCharacter(text string) string {
	at := strings.IndexFunc(text, func(r rune) bool {
		return r != '\n' && (unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == unicode.ReplacementChar)
	})
	if at < 0 {
		return ""
	}
	return fmt.Sprintf("%q", text[at:at+1])
}
