package doctest

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/wxphone/wxphone"
)

// What the documents say about the package is compared with it.

// rootFiles returns the parsed files of the root package without its tests.
func rootFiles(t *testing.T) []*ast.File {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var parsed []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, file)
	}
	return parsed
}

func TestREADMEHasTheOptionsThatExist(t *testing.T) {
	t.Parallel()
	exist := optionNames(t)
	described := make(map[string]bool)
	for _, found := range tables(readFile(t, readme)) {
		for _, row := range found.rows {
			if !strings.HasPrefix(row[0], "`With") {
				continue
			}
			name, _, _ := strings.Cut(strings.Trim(row[0], "`"), "(")
			described[name] = true
			if !exist[name] {
				t.Errorf("there is no option %s", name)
			}
		}
	}
	for name := range exist {
		if !described[name] {
			t.Errorf("%s does not describe %s", readme, name)
		}
	}
}

// optionNames returns the names of the exported functions that return an
// Option.
func optionNames(t *testing.T) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	for _, file := range rootFiles(t) {
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Recv != nil || !f.Name.IsExported() || f.Type.Results.NumFields() != 1 {
				continue
			}
			if result, ok := f.Type.Results.List[0].Type.(*ast.Ident); ok && result.Name == "Option" {
				names[f.Name.Name] = true
			}
		}
	}
	if len(names) == 0 {
		t.Fatal("no options; are they still found?")
	}
	return names
}

// TestErrcodesAreRight reads every table with a column "errcode", and compares
// its columns errors.Is, Kind() and HTTPStatus with the package.
func TestErrcodesAreRight(t *testing.T) {
	t.Parallel()
	sentinels := map[string]error{
		"ErrSystemBusy":     wxphone.ErrSystemBusy,
		"ErrCodeInvalid":    wxphone.ErrCodeInvalid,
		"ErrCodeUsed":       wxphone.ErrCodeUsed,
		"ErrAccessToken":    wxphone.ErrAccessToken,
		"ErrAppIDMismatch":  wxphone.ErrAppIDMismatch,
		"ErrSecretInvalid":  wxphone.ErrSecretInvalid,
		"ErrIPNotAllowed":   wxphone.ErrIPNotAllowed,
		"ErrUserBlocked":    wxphone.ErrUserBlocked,
		"ErrRateLimited":    wxphone.ErrRateLimited,
		"ErrQuotaExhausted": wxphone.ErrQuotaExhausted,
		"ErrUnauthorized":   wxphone.ErrUnauthorized,
		"ErrSessionExpired": wxphone.ErrSessionExpired,
		"ErrNoPhoneNumber":  wxphone.ErrNoPhoneNumber,
		"ErrAPISecurity":    wxphone.ErrAPISecurity,
	}
	kinds := map[string]wxphone.ErrorKind{
		"KindUnknown":        wxphone.KindUnknown,
		"KindTransient":      wxphone.KindTransient,
		"KindTokenRejected":  wxphone.KindTokenRejected,
		"KindCodeRejected":   wxphone.KindCodeRejected,
		"KindSessionExpired": wxphone.KindSessionExpired,
		"KindUserBlocked":    wxphone.KindUserBlocked,
		"KindRateLimited":    wxphone.KindRateLimited,
		"KindQuotaExhausted": wxphone.KindQuotaExhausted,
		"KindMisconfigured":  wxphone.KindMisconfigured,
		"KindInvalidRequest": wxphone.KindInvalidRequest,
		"KindPlatform":       wxphone.KindPlatform,
	}
	checked := 0
	for _, document := range documents(t) {
		for _, row := range errcodeRows(t, document) {
			for _, code := range row.codes {
				checked++
				refusal := &wxphone.APIError{Endpoint: "/wxa/business/getuserphonenumber", Code: code}
				if name := row.sentinel; name != "" && (sentinels[name] == nil || !errors.Is(refusal, sentinels[name])) {
					t.Errorf("%s: errcode %d is no %s", document, code, name)
				}
				if kind, ok := kinds[row.kind]; row.kind != "" && (!ok || kind != refusal.Kind()) {
					t.Errorf("%s: errcode %d is of kind %q, not of %s", document, code, refusal.Kind(), row.kind)
				}
				if got := strconv.Itoa(wxphone.HTTPStatus(refusal)); row.status != "" && row.status != got {
					t.Errorf("%s: errcode %d: HTTPStatus is %s, not %s", document, code, got, row.status)
				}
			}
		}
	}
	if checked < 20 {
		t.Errorf("%d errcodes; are they still found?", checked)
	}
}

// errcodeRow is a row of a table of errcodes. What its table has no column for
// is empty.
type errcodeRow struct {
	codes                  []int
	sentinel, kind, status string
}

func errcodeRows(t *testing.T, document string) []errcodeRow {
	t.Helper()
	number := regexp.MustCompile("`(-?[0-9]+)`")
	var rows []errcodeRow
	for _, found := range tables(readFile(t, document)) {
		if found.column("errcode") < 0 {
			continue
		}
		for _, cells := range found.rows {
			cell := func(column string) string {
				if i := found.column(column); i >= 0 {
					return strings.Trim(cells[i], "`")
				}
				return ""
			}
			row := errcodeRow{sentinel: cell("`errors.Is`"), kind: cell("`Kind()`"), status: cell("`HTTPStatus`")}
			for _, match := range number.FindAllStringSubmatch(cells[found.column("errcode")], -1) {
				code, err := strconv.Atoi(match[1])
				if err != nil {
					t.Fatal(err)
				}
				row.codes = append(row.codes, code)
			}
			if len(row.codes) > 0 {
				rows = append(rows, row)
			}
		}
	}
	return rows
}

func TestREADMEListsTheExamples(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir("examples")
	if err != nil {
		t.Fatal(err)
	}
	text := readFile(t, readme)
	for _, entry := range entries {
		row := fmt.Sprintf("\n| [%[1]s](examples/%[1]s) | ", entry.Name())
		if entry.IsDir() && !strings.Contains(text, row) {
			t.Errorf("%s does not list examples/%s", readme, entry.Name())
		}
	}
}
