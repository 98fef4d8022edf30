package doctest

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/wxphone/wxphone"
)

// README.md is held to the code: its programs compile and its tests pass, its
// fragments are taken from sources that are tested elsewhere, and its tables
// say what the package does.

var goBlock = regexp.MustCompile("(?ms)^```go\n(.*?)^```$")

// readmeGo returns README.md's Go code: whole files, and fragments.
func readmeGo(t *testing.T) (files, fragments []string) {
	t.Helper()
	for _, match := range goBlock.FindAllStringSubmatch(readFile(t, "README.md"), -1) {
		if strings.HasPrefix(match[1], "package ") {
			files = append(files, match[1])
		} else {
			fragments = append(fragments, match[1])
		}
	}
	if len(files) == 0 || len(fragments) == 0 {
		t.Fatalf("README.md has %d files and %d fragments of Go code; are the blocks still found?", len(files), len(fragments))
	}
	return files, fragments
}

// TestMain runs the tests in the directory of the root module, where the
// documents are.
func TestMain(m *testing.M) {
	if err := os.Chdir(filepath.Join("..", "..")); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Clean(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestREADMEFilesCompileAndPass puts the files into a module of their own, as
// a user would.
func TestREADMEFilesCompileAndPass(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles a module")
	}
	t.Parallel()
	dir := newUserModule(t)
	files, _ := readmeGo(t)
	for i, text := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), "README.md", text, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("readme%d.go", i)
		if imports(parsed, "testing") {
			name = fmt.Sprintf("readme%d_test.go", i)
		}
		writeFile(t, filepath.Join(dir, parsed.Name.Name, name), text)
	}
	goCommand(t, dir, "vet", "./...")
	goCommand(t, dir, "test", "./...")
}

// newUserModule returns a directory with a module that requires this one, and
// what the tests of this one require.
func newUserModule(t *testing.T) string {
	t.Helper()
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	const path = "github.com/wxphone/wxphone"
	own := "module " + path + "\n"
	mod := readFile(t, "go.mod")
	if !strings.HasPrefix(mod, own) {
		t.Fatalf("go.mod does not start with %q", own)
	}
	mod = "module example.com/app\n" + strings.TrimPrefix(mod, own) +
		fmt.Sprintf("\nrequire %s v0.0.0\n\nreplace %s => %s\n", path, path, strconv.Quote(root))
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "go.mod"), mod)
	writeFile(t, filepath.Join(dir, "go.sum"), readFile(t, "go.sum"))
	return dir
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func imports(file *ast.File, path string) bool {
	for _, spec := range file.Imports {
		if spec.Path.Value == strconv.Quote(path) {
			return true
		}
	}
	return false
}

func goCommand(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestREADMEFragmentsAreTestedElsewhere(t *testing.T) {
	t.Parallel()
	var sources []string
	for _, name := range []string{
		"example_test.go",
		"legacy_example_test.go",
		"legacy_flow_example_test.go",
		filepath.Join("examples", "quickstart", "main.go"),
		filepath.Join("examples", "legacy", "main.go"),
		filepath.Join("redisstore", "example_test.go"),
		"component_example_test.go",
		"example_api_security_test.go",
		filepath.Join("examples", "thirdparty", "main.go"),
		filepath.Join("examples", "cloudhosting", "main.go"),
	} {
		sources = append(sources, unindent(readFile(t, name)))
	}
	_, fragments := readmeGo(t)
	for _, fragment := range fragments {
		if !containsAny(sources, unindent(fragment)) {
			t.Errorf("no example has these lines of README.md:\n%s", fragment)
		}
	}
}

// unindent makes code comparable that is nested to different depths.
func unindent(code string) string {
	lines := strings.Split(code, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	return strings.Join(lines, "\n")
}

func containsAny(texts []string, part string) bool {
	for _, text := range texts {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}

// readmeRows returns the cells of those table rows of README.md whose first
// cell matches first.
func readmeRows(t *testing.T, first string) [][]string {
	t.Helper()
	pattern := regexp.MustCompile(first)
	var rows [][]string
	for _, line := range strings.Split(readFile(t, "README.md"), "\n") {
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if pattern.MatchString(cells[0]) {
			rows = append(rows, cells)
		}
	}
	if len(rows) == 0 {
		t.Fatalf("README.md has no table row like %s", first)
	}
	return rows
}

func TestREADMEHasTheOptionsThatExist(t *testing.T) {
	t.Parallel()
	exist := optionNames(t)
	described := make(map[string]bool)
	for _, row := range readmeRows(t, "^`With") {
		name, _, _ := strings.Cut(strings.Trim(row[0], "`"), "(")
		described[name] = true
		if !exist[name] {
			t.Errorf("there is no option %s", name)
		}
	}
	for name := range exist {
		if !described[name] {
			t.Errorf("README.md does not describe %s", name)
		}
	}
}

// optionNames returns the names of the exported functions that return an
// Option.
func optionNames(t *testing.T) map[string]bool {
	t.Helper()
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, source := range sources {
		if strings.HasSuffix(source, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), source, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Recv != nil || !f.Name.IsExported() || f.Type.Results.NumFields() != 1 {
				continue
			}
			if result, ok := f.Type.Results.List[0].Type.(*ast.Ident); ok && result.Name == "Option" {
				names[f.Name.Name] = true
			}
		}
	}
	return names
}

func TestREADMEErrcodesAreRight(t *testing.T) {
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
	}
	errcode := regexp.MustCompile("`(-?[0-9]+)`")
	for _, row := range readmeRows(t, "^`-?[0-9]+`") {
		sentinel := strings.Trim(row[1], "`")
		if sentinels[sentinel] == nil {
			t.Errorf("%s is not an error of this package's that this test knows", sentinel)
		}
		for _, match := range errcode.FindAllStringSubmatch(row[0], -1) {
			code, err := strconv.Atoi(match[1])
			if err != nil {
				t.Fatal(err)
			}
			refusal := &wxphone.APIError{Endpoint: "/wxa/business/getuserphonenumber", Code: code}
			if !errors.Is(refusal, sentinels[sentinel]) {
				t.Errorf("errcode %d is no %s", code, sentinel)
			}
			if got := strconv.Itoa(wxphone.HTTPStatus(refusal)); got != row[2] {
				t.Errorf("errcode %d: HTTPStatus is %s, README.md says %s", code, got, row[2])
			}
		}
	}
}
