package desk

import (
	"net"
	"net/http"
	"net/url"
	"strings"
)

// The fake listens where any page in the developer's browser can send requests
// to. From what is not WeChat's, two tricks are kept out. A page of another site may post to this address:
// browsers then name the site in Origin. And a site may let its own name point
// to this address, after which its pages are of the same origin as the fake:
// the name is then in Host. Programs send no Origin, and no foreign name.

// admit returns why a request is refused, or "". It lets pages of admitted
// origins read the answer.
func admit(h http.Header, r *http.Request) string {
	if !isNearby(hostName(r.Host)) {
		return "the host " + quote(r.Host) + " is a name that a foreign site could own; " +
			"use an IP address, localhost, a name without a dot, or one that ends with .localhost, .local, .internal or .test"
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return ""
	}
	h.Add("Vary", "Origin")
	if !isAdmitted(origin, r.Host) {
		return "pages of the origin " + quote(origin) + " may not use the fake; " +
			"its own page may, pages on localhost, and mini-programs in WeChat's developer tools"
	}
	h.Set("Access-Control-Allow-Origin", origin)
	if r.Header.Get("Access-Control-Request-Private-Network") != "" {
		h.Set("Access-Control-Allow-Private-Network", "true")
	}
	return ""
}

// isAdmitted reports whether pages of an origin may use the fake: its own page,
// a front end that is developed on this machine, and a mini-program, whose
// requests come from servicewechat.com in WeChat's developer tools.
func isAdmitted(origin, host string) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false // "null" too
	}
	name := u.Hostname()
	switch {
	case u.Host == host, name == "localhost", strings.HasSuffix(name, ".localhost"):
		return true
	case name == "servicewechat.com":
		return u.Scheme == "https"
	default:
		ip := net.ParseIP(name)
		return ip != nil && ip.IsLoopback()
	}
}

// isNearby reports whether no stranger can make this name point to the fake.
func isNearby(name string) bool {
	if net.ParseIP(name) != nil || !strings.Contains(name, ".") {
		return true
	}
	for _, ending := range []string{".localhost", ".local", ".internal", ".test"} {
		if strings.HasSuffix(strings.ToLower(name), ending) {
			return true
		}
	}
	return false
}

// hostName returns a Host without its port and brackets.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.Trim(host, "[]")
}
