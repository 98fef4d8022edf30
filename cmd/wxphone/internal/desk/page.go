package desk

import (
	"crypto/sha256"
	_ "embed" // for the page and its description of the API
	"encoding/base64"
	"net/http"
	"regexp"
	"strings"
)

//go:embed page.html
var pageHTML string

//go:embed openapi.json
var openAPI []byte

// pagePolicy allows the page its own script and style, by their hashes, and
// requests to the fake. Nothing else loads.
func pagePolicy() string {
	return strings.Join([]string{
		"default-src 'none'",
		"script-src " + hashOf(pageHTML, "script"),
		"style-src " + hashOf(pageHTML, "style"),
		"connect-src 'self'",
		"img-src data:",
		"base-uri 'none'",
		"form-action 'none'",
		"frame-ancestors 'none'",
	}, "; ")
}

// hashOf returns the source expression for the one inline element of this name.
func hashOf(html, element string) string {
	found := regexp.MustCompile(`(?s)<` + element + `>(.*)</` + element + `>`).FindStringSubmatch(html)
	if found == nil {
		panic("desk: the page has no " + element)
	}
	sum := sha256.Sum256([]byte(found[1]))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func (d *Desk) servePage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Security-Policy", d.pagePolicy)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte(pageHTML)) // what fails here is the connection
}

func (d *Desk) serveOpenAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(openAPI) // what fails here is the connection
}
