package doctest

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/wxphone/wxphone"
)

// What the documents say about the package is compared with it.

const errorsPage = "docs/errors.md"

// rootFiles returns the parsed files of the root package without its tests.
func rootFiles(t *testing.T) []*ast.File {
	t.Helper()
	names, err := fs.Glob(root, "*.go")
	if err != nil {
		t.Fatal(err)
	}
	var parsed []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, readFile(t, name), 0)
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

// The names that tables use.
var (
	sentinels = map[string]error{
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

		"ErrInvalidArgument":  wxphone.ErrInvalidArgument,
		"ErrDecrypt":          wxphone.ErrDecrypt,
		"ErrPush":             wxphone.ErrPush,
		"ErrWatermark":        wxphone.ErrWatermark,
		"ErrWatermarkExpired": wxphone.ErrWatermarkExpired,
	}
	kinds = map[string]wxphone.ErrorKind{
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
)

// TestErrcodesAreRight reads every table with a column "errcode", and compares
// its columns errors.Is, Kind() and HTTPStatus with the package.
func TestErrcodesAreRight(t *testing.T) {
	t.Parallel()
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

// TestStatusesOfErrorsAreRight reads every table with a column HTTPStatus, and
// compares the errors that a row begins a cell with.
func TestStatusesOfErrorsAreRight(t *testing.T) {
	t.Parallel()
	name := regexp.MustCompile("`(Err[A-Za-z]+)`")
	checked := 0
	for _, document := range documents(t) {
		for _, found := range tables(readFile(t, document)) {
			status := found.column("`HTTPStatus`")
			if status < 0 || found.column("errcode") >= 0 {
				continue
			}
			for _, row := range found.rows {
				for _, cell := range row {
					if !strings.HasPrefix(cell, "`Err") {
						continue
					}
					for _, match := range name.FindAllStringSubmatch(cell, -1) {
						checked++
						sentinel, ok := sentinels[match[1]]
						if got := strconv.Itoa(wxphone.HTTPStatus(sentinel)); !ok || got != row[status] {
							t.Errorf("%s: HTTPStatus of %s is %s, not %s", document, match[1], got, row[status])
						}
					}
				}
			}
		}
	}
	if checked < 10 {
		t.Errorf("%d errors; are they still found?", checked)
	}
}

func TestREADMEListsTheExamples(t *testing.T) {
	t.Parallel()
	entries, err := fs.ReadDir(root, "examples")
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

// TestErrorsPageHasEveryErrcode compares the page with the table that the
// package explains errcodes by.
func TestErrorsPageHasEveryErrcode(t *testing.T) {
	t.Parallel()
	described := make(map[int]bool)
	for _, row := range errcodeRows(t, errorsPage) {
		for _, code := range row.codes {
			if described[code] {
				t.Errorf("%s has errcode %d twice", errorsPage, code)
			}
			described[code] = true
		}
	}
	known := knownErrcodes(t)
	for code := range known {
		if !described[code] {
			t.Errorf("%s does not have errcode %d", errorsPage, code)
		}
	}
	for code := range described {
		if !known[code] {
			t.Errorf("%s has errcode %d, which the package does not know", errorsPage, code)
		}
	}
}

// knownErrcodes returns the keys of the map that holds what the package knows
// about errcodes.
func knownErrcodes(t *testing.T) map[int]bool {
	t.Helper()
	codes := make(map[int]bool)
	for _, file := range rootFiles(t) {
		ast.Inspect(file, func(node ast.Node) bool {
			spec, ok := node.(*ast.ValueSpec)
			if !ok || spec.Names[0].Name != "meanings" || len(spec.Values) == 0 {
				return true
			}
			for _, element := range spec.Values[0].(*ast.CompositeLit).Elts {
				key, factor := element.(*ast.KeyValueExpr).Key, 1
				if negative, ok := key.(*ast.UnaryExpr); ok {
					key, factor = negative.X, -1
				}
				code, err := strconv.Atoi(key.(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				codes[factor*code] = true
			}
			return false
		})
	}
	if len(codes) == 0 {
		t.Fatal("no errcodes; are they still in the map meanings?")
	}
	return codes
}

// TestErrorsPageHasEverySentinel looks for the package's Err variables.
func TestErrorsPageHasEverySentinel(t *testing.T) {
	t.Parallel()
	text, found := readFile(t, errorsPage), 0
	for _, name := range variables(t) {
		if !strings.HasPrefix(name, "Err") {
			continue
		}
		found++
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("%s does not describe %s", errorsPage, name)
		}
	}
	if found < 10 {
		t.Errorf("%d variables; are they still found?", found)
	}
}

// variables returns the names of the root package's variables.
func variables(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, file := range rootFiles(t) {
		for _, decl := range file.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok || group.Tok != token.VAR {
				continue
			}
			for _, spec := range group.Specs {
				for _, name := range spec.(*ast.ValueSpec).Names {
					names = append(names, name.Name)
				}
			}
		}
	}
	return names
}

func TestDocumentsAreShort(t *testing.T) {
	t.Parallel()
	limits := make(map[string]int)
	for english, chinese := range translations(t) {
		limit := 250
		if english == readme {
			limit = 300
		}
		limits[english], limits[chinese] = limit, limit
	}
	for name, limit := range limits {
		if lines := strings.Count(readFile(t, name), "\n"); lines > limit {
			t.Errorf("%s has %d lines, more than %d", name, lines, limit)
		}
	}
}

func TestREADMEBeginsWithAProgram(t *testing.T) {
	t.Parallel()
	const first = 60
	for _, name := range []string{readme, readmeZH} {
		lines := strings.SplitAfterN(readFile(t, name), "\n", first)
		beginning := strings.Join(lines[:len(lines)-1], "")
		_, program, found := strings.Cut(beginning, "\n```go\npackage main\n")
		if !found || !strings.Contains(program, "wxphone.New(") {
			t.Errorf("%s has no program with wxphone.New in its first %d lines", name, first-1)
		}
	}
}

func TestREADMENamesTheTwoCommands(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"go run ./examples/quickstart", "go test ./..."} {
		if !strings.Contains(readFile(t, readme), "\n"+command+"\n") {
			t.Errorf("%s does not say how to run %s", readme, command)
		}
	}
}

// TestREADMEListsThePages looks for a link to each page of docs.
func TestREADMEListsThePages(t *testing.T) {
	t.Parallel()
	for english, chinese := range translations(t) {
		for index, page := range map[string]string{readme: english, readmeZH: chinese} {
			if page == index {
				continue
			}
			if row := "](" + page + ") | "; !strings.Contains(readFile(t, index), row) {
				t.Errorf("%s does not list %s", index, page)
			}
		}
	}
}
