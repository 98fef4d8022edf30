package wxphone_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/internal/leaktest"
)

// strangers are the secrets of another request, whose answer came instead of
// this one's.
const strangers = leaktest.Token + " " + leaktest.Key + " " + leaktest.Number

var strangersSecrets = append(leaktest.StrangersSecrets(), someToken, someCode)

// rawServer gives every request the same answer, byte for byte, and then
// leaves the connection open if it hangs.
func rawServer(t *testing.T, answer string, hang bool) (url string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				r, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, r.Body)
				_, _ = io.WriteString(conn, answer)
				if hang {
					_, _ = io.Copy(io.Discard, conn)
				}
			}()
		}
	}()
	return "http://" + listener.Addr().String()
}

func clientsOfUsers() map[string][]wxphone.Option {
	return map[string][]wxphone.Option{
		"own client":    nil,
		"user's client": {wxphone.WithHTTPClient(&http.Client{Transport: &http.Transport{}})},
	}
}

// leaking serves nothing but what answers an endpoint with secrets.
func leaking(t *testing.T, endpoint string, answer leaktest.Answer, whose leaktest.Whose) wxphone.Option {
	t.Helper()
	return wxphone.WithBaseURL(leaktest.Serve(t, http.NotFoundHandler(), leaktest.Fault{Endpoint: endpoint, Answer: answer, Whose: whose}))
}

func TestMalformedAnswerIsNotQuoted(t *testing.T) {
	t.Parallel()
	for _, answer := range leaktest.Answers() {
		for whose, opts := range clientsOfUsers() {
			for retries, way := range []string{"once", "again"} {
				if way == "again" && opts != nil {
					continue // the retry is the same for all
				}
				t.Run(answer.Name+"/"+whose+"/"+way, func(t *testing.T) {
					t.Parallel()
					secrets := strangersSecrets
					if !answer.Hidden {
						secrets = except(secrets, leaktest.Key)
					}
					for _, of := range []leaktest.Whose{leaktest.Strangers, leaktest.Own} {
						err, failed := leakOf(t, secrets, append(opts, leaking(t, phoneAPI, answer, of),
							wxphone.WithTokenSource(fixedToken(someToken)), wxphone.WithMaxRetries(retries))...)
						var network *url.Error
						if failed && errors.As(err, &network) {
							assert.True(t, strings.HasSuffix(network.URL, phoneAPI), network.URL)
							assert.False(t, network.Timeout())
						}
						assert.True(t, !failed || !answer.Hidden || network != nil || isNoNumber(err), "%T: %v", err, err)
					}
				})
			}
		}
	}
}

// leakOf makes a call, and checks what its error, the log and the observed
// calls tell. Some of the answers are a success.
func leakOf(t *testing.T, secrets []string, opts ...wxphone.Option) (err error, failed bool) { //nolint:revive // the error is what is looked at
	t.Helper()
	w := &witness{t: t, secrets: secrets}
	client, err := wxphone.New(someAppID, someSecret, append(w.options(), opts...)...)
	require.NoError(t, err)
	_, err = client.GetPhoneNumber(context.Background(), someCode)
	w.checkError(err)
	w.checkLog()
	if err != nil {
		assert.NotContains(t, err.Error(), "\n")
	}
	return err, err != nil
}

// isNoNumber reports whether err says that the answer was not WeChat's, or was
// one without a number.
func isNoNumber(err error) bool {
	var notWeChats *wxphone.ResponseError
	return errors.As(err, &notWeChats) || errors.Is(err, wxphone.ErrNoPhoneNumber)
}

func except(list []string, one string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == one })
}

// The token's request may meet the answer of another too. It is tried again, so
// all of them wait at the same time.
func TestMalformedAnswerInPlaceOfATokenIsNotQuoted(t *testing.T) {
	t.Parallel()
	var running sync.WaitGroup
	defer running.Wait()
	for endpoint, opts := range map[string][]wxphone.Option{stableTokenAPI: nil, classicTokenAPI: {wxphone.WithClassicToken()}} {
		for _, answer := range leaktest.Answers() {
			secrets := append(except(strangersSecrets, leaktest.Key), someSecret)
			if answer.Hidden {
				secrets = append(secrets, leaktest.Key)
			}
			for _, whose := range []leaktest.Whose{leaktest.Strangers, leaktest.Own} {
				server := leaking(t, endpoint, answer, whose)
				running.Add(1)
				go func() {
					defer running.Done()
					leakOf(t, secrets, append(opts[:len(opts):len(opts)], server, wxphone.WithMaxRetries(0))...)
				}()
			}
		}
	}
}

func TestMalformedAnswerThatHangsIsATimeout(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"in a status": "HTTP/1.1 200 " + strangers,
		"in a header": "HTTP/1.1 200 OK\r\nA: " + strangers,
		"in a body":   "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + strangers,
	} {
		for whose, opts := range clientsOfUsers() {
			t.Run(name+"/"+whose, func(t *testing.T) {
				t.Parallel()
				w := &witness{t: t, secrets: strangersSecrets}
				client, err := wxphone.New(someAppID, someSecret, append(w.options(), append(opts,
					wxphone.WithBaseURL(rawServer(t, answer, true)),
					wxphone.WithTokenSource(fixedToken(someToken)))...)...)
				require.NoError(t, err)
				ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
				defer cancel()
				_, err = client.GetPhoneNumber(ctx, someCode)
				w.checkError(err)
				w.checkLog()
				var network *url.Error
				require.ErrorAs(t, err, &network)
				assert.True(t, network.Timeout())
				require.ErrorIs(t, err, context.DeadlineExceeded)
			})
		}
	}
}

// A proxy answers CONNECT in words of its own, which net/http takes for the
// text of an error.
func TestProxysOwnWordsAreNotQuoted(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ answer, says string }{
		"a refusal":        {"HTTP/1.1 407 Proxy Authentication Required", "the proxy did not connect: 407 Proxy Authentication Required"},
		"its own words":    {"HTTP/1.1 502 no way for " + leaktest.Key + " " + leaktest.Number, "the proxy did not connect"},
		"a token":          {"HTTP/1.1 502 " + leaktest.Token, "the proxy did not connect"},
		"no words":         {"HTTP/1.1 502", ""},
		"malformed":        {"HTTP/1.1 " + strangers, ""},
		"a Content-Length": {"HTTP/1.1 502 no\r\nContent-Length: " + leaktest.Key, ""},
		"no answer":        {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy, err := url.Parse(rawServer(t, tt.answer+"\r\n\r\n", false))
			require.NoError(t, err)
			httpClient := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy)}}
			err = failWith(t, someCode, strangersSecrets, wxphone.WithHTTPClient(httpClient), wxphone.WithMaxRetries(0),
				wxphone.WithBaseURL("https://wechat.invalid"), wxphone.WithTokenSource(fixedToken(someToken)))
			var network *url.Error
			require.ErrorAs(t, err, &network)
			assert.ErrorContains(t, err, tt.says)
		})
	}
}

func TestHeadOfAnAnswerIsBounded(t *testing.T) {
	t.Parallel()
	for size, passes := range map[int]bool{60 << 10: true, 70 << 10: false, 900 << 10: false} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < size; i += 1 << 10 {
				w.Header().Add("Padding", strings.Repeat("x", 1<<10-10))
			}
			_, _ = io.WriteString(w, success)
		}))
		t.Cleanup(server.Close)
		client, err := wxphone.New(someAppID, "", wxphone.WithBaseURL(server.URL), wxphone.WithMaxRetries(0),
			wxphone.WithTokenSource(fixedToken(someToken)))
		require.NoError(t, err)
		_, err = client.GetPhoneNumber(context.Background(), someCode)
		if passes {
			require.NoError(t, err)
			continue
		}
		var network *url.Error
		require.ErrorAs(t, err, &network, "%d bytes", size)
		require.ErrorIs(t, err, wxphone.ErrCodeMaybeUsed)
	}
}
