package doctest

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/wxphone/wxphone/internal/desktest"
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
	if err := json.Unmarshal([]byte(readFile(t, "cmd/wxphone/internal/desk/openapi.json")), &api); err != nil {
		t.Fatal(err)
	}
	var served, described []string
	for path, methods := range api.Paths {
		for method := range methods {
			if name := strings.TrimPrefix(path, "/_fake/"); name != "" && name != "openapi.json" {
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
	url := regexp.MustCompile(`http://127\.0\.0\.1:8089(/[^\s']+)`)
	body := regexp.MustCompile(`-d '([^']*)'`)
	method := regexp.MustCompile(`-X (\w+)`)
	command, err := desktest.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	fake := desktest.Start(t, command)
	sent := 0
	// What one answer brings stands in a later command in capitals.
	var brought struct {
		Code        string `json:"code"`
		AccessToken string `json:"access_token"`
		ErrCode     int    `json:"errcode"`
	}
	for _, document := range documents(t) {
		send(t, "POST", fake.URL+"/_fake/reset", "") // of the faults of the page before
		for _, block := range fence.FindAllStringSubmatch(readFile(t, document), -1) {
			for _, line := range strings.Split(strings.ReplaceAll(block[2], "\\\n", ""), "\n") {
				line = strings.NewReplacer(`"CODE"`, `"`+brought.Code+`"`, "=TOKEN", "="+brought.AccessToken).Replace(line)
				target := url.FindStringSubmatch(line)
				if block[1] != "sh" || target == nil || !strings.HasPrefix(line, "curl ") {
					continue
				}
				sent++
				verb, text := "GET", ""
				if found := body.FindStringSubmatch(line); found != nil {
					verb, text = "POST", found[1]
				}
				if found := method.FindStringSubmatch(line); found != nil {
					verb = found[1]
				}
				status, answer := send(t, verb, fake.URL+target[1], text)
				_ = json.Unmarshal([]byte(answer), &brought)
				if status != http.StatusOK || brought.ErrCode != 0 {
					t.Errorf("%s: %s answers %d: %s", document, line, status, answer)
				}
			}
		}
	}
	if sent < 8 {
		t.Errorf("%d requests; are they still found?", sent)
	}
}

// send makes a request and returns what came back.
func send(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}
