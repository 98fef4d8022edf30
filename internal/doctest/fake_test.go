package doctest

import (
	"encoding/json"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/wxphone/wxphone/internal/desk"
)

// What docs/fake.md says about "wxphone fake" is compared with it.

const fakePage = "docs/fake.md"

// TestFakePageHasWhatTheFakeTakes compares the table of requests with the
// description that the fake serves.
func TestFakePageHasWhatTheFakeTakes(t *testing.T) {
	t.Parallel()
	var api struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	if err := json.Unmarshal([]byte(readFile(t, "internal/desk/openapi.json")), &api); err != nil {
		t.Fatal(err)
	}
	var served, described []string
	for path, methods := range api.Paths {
		for method := range methods {
			if name := strings.TrimPrefix(path, desk.Prefix); name != "" && name != "openapi.json" {
				served = append(served, strings.ToUpper(method)+" "+name)
			}
		}
	}
	request := regexp.MustCompile("`((?:GET|POST|PUT) [a-z/-]+)`")
	for _, found := range tables(readFile(t, fakePage)) {
		for _, row := range found.rows {
			for _, match := range request.FindAllStringSubmatch(row[0], -1) {
				described = append(described, match[1])
			}
		}
	}
	slices.Sort(served)
	slices.Sort(described)
	if !slices.Equal(served, described) {
		t.Errorf("%s has %q, and the fake takes %q", fakePage, described, served)
	}
}

// TestFakePageHasTheFlags compares flags and variables with the program's.
func TestFakePageHasTheFlags(t *testing.T) {
	t.Parallel()
	defined := regexp.MustCompile(`flags\.\w+\((?:&[\w.]+, )?"([a-z-]+)"`)
	var flags, described []string
	for _, match := range defined.FindAllStringSubmatch(readFile(t, "cmd/wxphone/fake.go"), -1) {
		flags = append(flags, match[1])
	}
	name := regexp.MustCompile("`-([a-z-]+)`")
	for _, found := range tables(readFile(t, fakePage)) {
		if found.column("Flag") < 0 {
			continue
		}
		for _, row := range found.rows {
			for _, match := range name.FindAllStringSubmatch(row[0], -1) {
				described = append(described, match[1])
				variable := "`WXPHONE_FAKE_" + strings.ToUpper(strings.ReplaceAll(match[1], "-", "_")) + "`"
				if !strings.Contains(row[1], variable) {
					t.Errorf("%s: -%s has no %s", fakePage, match[1], variable)
				}
			}
		}
	}
	slices.Sort(flags)
	slices.Sort(described)
	if len(flags) == 0 || !slices.Equal(flags, described) {
		t.Errorf("%s has the flags %q, and the program %q", fakePage, described, flags)
	}
}

// TestCurlsOfTheDocumentsWork sends what the documents have a reader send to a
// fake.
func TestCurlsOfTheDocumentsWork(t *testing.T) {
	t.Parallel()
	url := regexp.MustCompile(`http://127\.0\.0\.1:8089(/_fake/\S+)`)
	body := regexp.MustCompile(`-d '([^']*)'`)
	method := regexp.MustCompile(`-X (\w+)`)
	sent := 0
	for _, document := range documents(t) {
		for _, block := range fence.FindAllStringSubmatch(readFile(t, document), -1) {
			for _, command := range strings.Split(strings.ReplaceAll(block[2], "\\\n", ""), "\n") {
				target := url.FindStringSubmatch(command)
				if block[1] != "sh" || target == nil || !strings.HasPrefix(command, "curl ") {
					continue
				}
				sent++
				verb, text := "GET", ""
				if found := body.FindStringSubmatch(command); found != nil {
					verb, text = "POST", found[1]
				}
				if found := method.FindStringSubmatch(command); found != nil {
					verb = found[1]
				}
				if status, answer := send(t, verb, target[1], text); status != 200 {
					t.Errorf("%s: %s answers %d: %s", document, command, status, answer)
				}
			}
		}
	}
	if sent < 8 {
		t.Errorf("%d requests; are they still found?", sent)
	}
}

// send makes one request to a new fake.
func send(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	d, err := desk.New(desk.Config{})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Host = "127.0.0.1:8089"
	d.ServeHTTP(w, req)
	return w.Code, w.Body.String()
}
