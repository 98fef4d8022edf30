// Package desk puts a fake WeChat on a developer's desk: it serves WeChat's
// paths at the root and its own below /_fake/, a page for people and JSON for
// programs in any language. The command wxphone runs it.
package desk

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/wxphone/wxphone/wxphonetest"
)

// Prefix is where the fake's own paths begin. WeChat has none there.
const Prefix = "/_fake/"

// Config says what kind of WeChat stands on the desk. What is zero is
// wxphonetest's default.
type Config struct {
	AppID, Secret string
	TokenLifetime time.Duration
	APISecurity   bool
	CloudHosting  bool
	// Observe is called with every request to WeChat's paths when it is
	// done. It may be nil. It is called from several goroutines at once.
	Observe func(wxphonetest.Exchange)
}

// Desk is an [http.Handler]. Make it with [New].
type Desk struct {
	config     Config
	wechat     *wxphonetest.Server
	journal    *journal
	pagePolicy string
	// pushes is held from the setting of a URL to the end of the push that goes
	// there, and guards pushed.
	pushes sync.Mutex
	pushed *pushInfo // the last push, if there was one
	// authorizers has the appids of those that authorised the platform. It has
	// no part in the mutex: a platform may tap while it takes a push.
	authorizers sync.Map
}

// New returns a Desk. It listens to nothing by itself.
func New(config Config) (*Desk, error) {
	d := &Desk{config: config, journal: newJournal(), pagePolicy: pagePolicy()}
	opts := []wxphonetest.Option{wxphonetest.WithObserver(d.observe)}
	if config.AppID != "" || config.Secret != "" {
		opts = append(opts, wxphonetest.WithCredentials(config.AppID, config.Secret))
	}
	if config.TokenLifetime != 0 {
		opts = append(opts, wxphonetest.WithTokenLifetime(config.TokenLifetime))
	}
	if config.APISecurity {
		opts = append(opts, wxphonetest.WithAPISecurity())
	}
	if config.CloudHosting {
		opts = append(opts, wxphonetest.WithCloudHosting())
	}
	var err error
	d.wechat, err = wxphonetest.Start(opts...)
	return d, err
}

// AppID returns the appid of the fake's mini-program.
func (d *Desk) AppID() string { return d.wechat.AppID() }

// Secret returns the AppSecret of the fake's mini-program.
func (d *Desk) Secret() string { return d.wechat.Secret() }

func (d *Desk) observe(e wxphonetest.Exchange) {
	d.journal.add(e)
	if strings.HasPrefix(e.Endpoint, "push ") {
		// Who has it pushed holds the mutex, and waits. Endpoints of others
		// begin with a slash.
		d.pushed = &pushInfo{e.Status, e.Reason}
	}
	if d.config.Observe != nil {
		d.config.Observe(e)
	}
}

// ServeHTTP implements [http.Handler].
func (d *Desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasPrefix(r.URL.Path, Prefix):
		d.serveOwn(w, r)
	case r.Method == http.MethodGet && (r.URL.Path == "/" || r.URL.Path+"/" == Prefix):
		http.Redirect(w, r, Prefix, http.StatusFound)
	default:
		d.wechat.ServeHTTP(w, r)
	}
}

// serveOwn answers below Prefix.
func (d *Desk) serveOwn(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	if refusal := admit(h, r); refusal != "" {
		writeError(w, http.StatusForbidden, refusal)
		return
	}
	name := strings.TrimPrefix(r.URL.Path, Prefix)
	methods := operations[name]
	op, ok := methods[methodOf(r)]
	switch {
	case len(methods) == 0:
		writeError(w, http.StatusNotFound, "there is no "+r.URL.Path+"; "+Prefix+"openapi.json lists what there is")
	case r.Method == http.MethodOptions:
		h.Set("Access-Control-Allow-Methods", methods.allow())
		h.Set("Access-Control-Allow-Headers", "Content-Type, Last-Event-ID")
		w.WriteHeader(http.StatusNoContent)
	case !ok:
		h.Set("Allow", methods.allow())
		writeError(w, http.StatusMethodNotAllowed, r.URL.Path+" takes "+methods.allow()+", not "+r.Method)
	default:
		op.serve(d, w, r)
	}
}

// methodOf returns the method to look a request up by.
func methodOf(r *http.Request) string {
	if r.Method == http.MethodHead {
		return http.MethodGet
	}
	return r.Method
}
