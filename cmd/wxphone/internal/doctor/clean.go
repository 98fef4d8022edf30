package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/wxphone/wxphone/internal/redact"
)

// What is printed is cleaned here. Most of it comes from another machine, and
// people send it to others who are to help them.

// clean returns text as it may be printed: in one line, without the AppSecret,
// and without what looks like a token, a code or a phone number.
func (d *doctor) clean(text string) string { return redact.Text(text, []string{d.cfg.secret}) }

// own returns what the user gave, which is printed to be compared.
func (d *doctor) own(text string) string {
	hidden := redact.Hide(text, []string{d.cfg.secret})
	plain := strconv.Quote(hidden)
	return plain[1 : len(plain)-1]
}

// printf prints one line, all of it cleaned.
func (d *doctor) printf(format string, args ...any) {
	text := strings.TrimSuffix(fmt.Sprintf(format, args...), "\n")
	fmt.Fprintln(d.stdout, d.clean(text))
}

// count returns a number of calls. One of a billion or more is none, but may be
// a phone number.
func count(n int64) string {
	switch {
	case n < 0 || n >= 1_000_000_000:
		return "an unlikely number of"
	case n < 1_000_000:
		return strconv.FormatInt(n, 10)
	}
	text := strconv.FormatInt(n, 10)
	return text[:len(text)-6] + "," + text[len(text)-6:len(text)-3] + "," + text[len(text)-3:]
}

// addressOr returns text if it is an IP address.
func addressOr(text, otherwise string) string {
	address, err := netip.ParseAddr(text)
	if err != nil || address.Zone() != "" {
		return otherwise
	}
	return address.String()
}

// known are the names of WeChat's parameters. Any other may be a value in the
// wrong place.
var known = []string{
	"access_token", "appid", "cgi_path", "cloudid_list", "code", "component_access_token", "component_appid", "encrypted_msg_hash",
	"force_refresh", "grant_type", "js_code", "openid", "rid", "secret", "sig_method", "signature",
}

// names returns the names of parameters that are WeChat's.
func names[V any](values map[string]V) string {
	var list []string
	others := 0
	for name := range values {
		if slices.Contains(known, name) {
			list = append(list, name)
		} else {
			others++
		}
	}
	slices.Sort(list)
	if others > 0 {
		list = append(list, fmt.Sprintf("%d of other names", others))
	}
	if len(list) == 0 {
		return "empty"
	}
	return strings.Join(list, ", ")
}
