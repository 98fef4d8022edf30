package wxphonetest

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// outcome is the part that nearly all of WeChat's answers have in common.
type outcome struct {
	ErrCode int    `json:"errcode"`
	ErrMsg  string `json:"errmsg"`
}

var success = outcome{ErrMsg: "ok"}

// failure returns the answer of endpoint for errcode, with WeChat's text if
// errmsg is empty. Like WeChat, it adds the request's id to the errmsg.
func failure(endpoint string, errcode int, errmsg string, now time.Time) outcome {
	if errmsg == "" {
		errmsg = messageOf(endpoint, errcode)
	}
	if errcode != 0 && !strings.Contains(errmsg, "rid:") {
		if isLogin(endpoint) {
			errmsg += ","
		}
		errmsg += " rid: " + newRID(now)
	}
	return outcome{ErrCode: errcode, ErrMsg: errmsg}
}

// isLogin reports whether endpoint is one of the APIs under /sns/, which format
// their answers differently.
func isLogin(endpoint string) bool { return strings.HasPrefix(endpoint, "/sns/") }

// newRID returns a request id, which starts with the time of the request.
func newRID(now time.Time) string {
	var b [8]byte
	random(b[:])
	return fmt.Sprintf("%08x-%08x-%08x", now.Unix()&0xffffffff, b[:4], b[4:])
}

// messages are WeChat's texts. They change occasionally, so tests should use
// the errcode.
var messages = map[int]string{
	-1:    "system error",
	0:     "ok",
	1:     "no such data",
	40001: "invalid credential, access_token is invalid or not latest, could get access_token by getStableAccessToken, more details at https://mmbizurl.cn/s/JtxxFh33r",
	40002: "invalid grant_type",
	40003: "invalid openid",
	40013: "invalid appid",
	40014: "invalid access_token",
	40029: "invalid code",
	40066: "invalid url",
	40097: "invalid args",
	40094: "invalid component credential",
	40125: "invalid appsecret",
	40163: "code been used",
	40164: "invalid ip 203.0.113.7 ipv6 ::ffff:203.0.113.7, not in whitelist",
	40226: "code blocked",
	40231: "API missing Wechatmp-TimeStamp",
	40232: "API missing Wechatmp-Signature",
	40233: "API missing Wechatmp-Appid",
	40234: "API invalid signature",
	40235: "API invalid encrypt",
	40236: "API invalid Wechatmp-Appid",
	40237: "API invalid Wechatmp-Appidmatch",
	40238: "API no exist DevSecretSym",
	40240: "API expired Wechatmp-TimeStamp",
	40243: "appsecret frozen",
	41001: "access_token missing",
	41002: "appid missing",
	41004: "appsecret missing",
	41008: "missing code",
	41018: "component_appid missing",
	42001: "access_token expired",
	43001: "require GET method",
	43002: "require POST method",
	43003: "require https",
	44002: "empty post data",
	45002: "content size out of limit",
	45009: "reach max api daily quota limit",
	45011: "api minute-quota reach limit, must slower, retry next minute",
	47001: "data format error",
	48001: "api unauthorized",
	48004: "api forbidden",
	48006: "forbid to clear quota because of reaching the limit",
	50002: "user limited",
	61003: "component is not authorized by this account",
	61005: "component ticket is expired",
	61006: "component ticket is invalid",
	61007: "api is unauthorized to component",
	61010: "code is expired",
	61023: "refresh_token is invalid",
	76001: "rid not found",
	76002: "invalid rid",
	76003: "rid of another account",
	76004: "rid expired",
	76021: "cgi_path not found, please check",
	76022: "could not use this cgi_path, no permission",
	87007: "session not found or expired",
	87008: "invalid sig_method",
	87009: "invalid signature",
	85107: "api is not in the whitelist of the open interface service",
	89503: "ip needs the administrator's confirmation",
}

func messageOf(endpoint string, errcode int) string {
	text, ok := messages[errcode]
	if !ok {
		text = "error " + strconv.Itoa(errcode)
	}
	if errcode == 47001 || endpoint == pathPhoneNumber && isAboutCode(errcode) {
		// The hint refers to WeChat's logs, so it is different each time.
		text += " hint: [" + alphanumeric(6) + "-" + alphanumeric(5) + "]"
	}
	return text
}

// isAboutCode reports whether errcode comes from the phone number API itself
// and not from the checks before it.
func isAboutCode(errcode int) bool { return errcode == 40029 || errcode == 40013 }

// reply is an HTTP answer before it is written.
type reply struct {
	status      int
	contentType string
	body        []byte
	header      http.Header // headers of API security, or nil
	plaintext   []byte      // the plaintext of an encrypted body, or nil
}

// text returns the answer in plaintext.
func (a reply) text() []byte {
	if a.plaintext != nil {
		return a.plaintext
	}
	return a.body
}

func (a reply) write(w http.ResponseWriter) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	if a.contentType != "" {
		w.Header().Set("Content-Type", a.contentType)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	// A caller that does not wait for the answer does not need the error.
	_, _ = w.Write(a.body)
}

// encode returns v in WeChat's JSON format: UTF-8, without HTML escapes.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// encodeAnswer returns v in the JSON format of the API at endpoint.
func encodeAnswer(endpoint string, v any) []byte {
	b := mustEncode(v)
	if isLogin(endpoint) {
		// The slashes of a session_key. JSON has none outside of strings.
		b = bytes.ReplaceAll(b, []byte{'/'}, []byte(`\/`))
	}
	return b
}

// mustEncode is encode for values of this package, for which it cannot fail.
func mustEncode(v any) []byte {
	b, err := encode(v)
	if err != nil {
		panic("wxphonetest: " + err.Error())
	}
	return b
}

func random(b []byte) {
	if _, err := rand.Read(b); err != nil {
		panic("wxphonetest: no random numbers: " + err.Error())
	}
}

func alphanumeric(n int) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	b := make([]byte, 2*n)
	random(b)
	text := make([]byte, n)
	for i := range text {
		text[i] = letters[int(binary.BigEndian.Uint16(b[2*i:]))%len(letters)]
	}
	return string(text)
}
