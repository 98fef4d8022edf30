package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/wxphone/wxphone/wxphonetest"
)

// fake is a WeChat that also answers about quotas and rids, which wxphonetest
// does not.
type fake struct {
	*wxphonetest.Server
	url string

	remain int    // calls of getuserphonenumber
	rid    string // the one rid that it knows
	errs   map[string]int
	date   string // instead of the present time
	close  func()
}

func newFake() (*fake, error) {
	wechat, err := wxphonetest.Start()
	if err != nil {
		return nil, err
	}
	f := &fake{Server: wechat, remain: 9990, rid: "6b0476f6-2c099d96-7fa6429e", errs: make(map[string]int)}
	mux := http.NewServeMux()
	mux.Handle("/", wechat)
	mux.HandleFunc("POST "+quotaEndpoint, f.quota)
	mux.HandleFunc("POST "+ridEndpoint, f.explain)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.date != "" {
			w.Header().Set("Date", f.date)
		}
		mux.ServeHTTP(w, r)
	}))
	f.url = server.URL
	f.close = func() {
		server.Close()
		wechat.Close()
	}
	return f, nil
}

func (f *fake) config() config {
	return config{appID: f.AppID(), secret: f.Secret(), baseURL: f.url}
}

func (f *fake) quota(w http.ResponseWriter, r *http.Request) {
	if f.refuse(w, r, quotaEndpoint) {
		return
	}
	var body struct {
		Path string `json:"cgi_path"`
	}
	if json.NewDecoder(r.Body).Decode(&body) != nil || body.Path != phoneEndpoint {
		write(w, `{"errcode":76021,"errmsg":"cgi_path not found, please check"}`)
		return
	}
	write(w, fmt.Sprintf(`{"errcode":0,"errmsg":"ok",
		"quota":{"daily_limit":10000,"used":%d,"remain":%d},
		"rate_limit":{"call_count":5000,"refresh_second":60}}`, 10000-f.remain, f.remain))
}

func (f *fake) explain(w http.ResponseWriter, r *http.Request) {
	if f.refuse(w, r, ridEndpoint) {
		return
	}
	var body struct {
		RID string `json:"rid"`
	}
	if json.NewDecoder(r.Body).Decode(&body) != nil || body.RID != f.rid {
		write(w, `{"errcode":76001,"errmsg":"rid not found"}`)
		return
	}
	write(w, fmt.Sprintf(`{"errcode":0,"errmsg":"ok","request":{
		"invoke_time":1795455734,
		"cost_in_ms":30,
		"request_url":"access_token=%s",
		"request_body":"{\"code\":\"a-code-of-a-user\"}",
		"response_body":"{\"errcode\":40163,\"errmsg\":\"code been used rid: %s\"}",
		"client_ip":"203.0.113.7"}}`, f.Token(), f.rid))
}

// refuse answers a request that fails, be it for its token or on purpose.
func (f *fake) refuse(w http.ResponseWriter, r *http.Request, endpoint string) bool {
	code := f.errs[endpoint]
	if r.URL.Query().Get("access_token") != f.Token() {
		code = 40001
	}
	if code == 0 {
		return false
	}
	write(w, fmt.Sprintf(`{"errcode":%d,"errmsg":"refused"}`, code))
	return true
}

func write(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, text) // fails only if the client is gone
}

// runFake shows a healthy mini-program and two others.
func runFake(ctx context.Context, stdout io.Writer) error {
	f, err := newFake()
	if err != nil {
		return err
	}
	defer f.close()
	fmt.Fprintf(stdout, "No appid given: these are fakes.\n\n")

	cfg := f.config()
	cfg.rid = f.rid
	if err := examineFake(ctx, cfg, stdout, 0); err != nil {
		return err
	}

	fmt.Fprintln(stdout, "\nThe next one's address is not on the whitelist.")
	f.FailNext("/cgi-bin/stable_token", 40164, "", 1)
	if err := examineFake(ctx, f.config(), stdout, 1); err != nil {
		return err
	}

	fmt.Fprintln(stdout, "\nThe next one may not ask for phone numbers, and used its calls up trying.")
	f.FailNext(phoneEndpoint, 48001, "", 1)
	f.remain = 0
	return examineFake(ctx, f.config(), stdout, 2)
}

func examineFake(ctx context.Context, cfg config, stdout io.Writer, want int) error {
	problems, err := examine(ctx, cfg, stdout)
	if err != nil {
		return err
	}
	if problems != want {
		return fmt.Errorf("%d problem(s) found instead of %d", problems, want)
	}
	return nil
}
