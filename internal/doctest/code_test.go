package doctest

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const modulePath = "github.com/wxphone/wxphone"

// goFile is a Go block that is a whole file.
type goFile struct {
	document string
	text     string
	parsed   *ast.File
}

// goCode returns the Go blocks of the documents: whole files and fragments by
// document. Those of the translations are left out: they are compared with
// their originals.
func goCode(t *testing.T) (whole []goFile, fragments map[string][]string) {
	t.Helper()
	translated := make(map[string]bool)
	for _, name := range translations(t) {
		translated[name] = true
	}
	fragments = make(map[string][]string)
	for _, document := range documents(t) {
		if translated[document] {
			continue
		}
		for _, block := range fence.FindAllStringSubmatch(readFile(t, document), -1) {
			language, text := block[1], block[2]
			switch {
			case language != "go":
			case strings.HasPrefix(text, "package "):
				parsed, err := parser.ParseFile(token.NewFileSet(), document, text, 0)
				if err != nil {
					t.Errorf("%s: %v\n%s", document, err, text)
					continue
				}
				whole = append(whole, goFile{document, text, parsed})
			default:
				fragments[document] = append(fragments[document], text)
			}
		}
	}
	if len(whole) == 0 || len(fragments) == 0 {
		t.Fatalf("%d files, and fragments in %d documents; are the blocks still found?", len(whole), len(fragments))
	}
	return whole, fragments
}

// TestProgramsCompileAndTheirTestsPass puts the files of the documents into a
// module of their own, as a user would.
func TestProgramsCompileAndTheirTestsPass(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles a module")
	}
	t.Parallel()
	dir := newUserModule(t)
	whole, _ := goCode(t)
	programs := make(map[string]int)
	for i, file := range whole {
		if !needsOnlyTheRootModule(t, file.parsed) {
			continue // TestFragmentsAreTestedElsewhere looks for it
		}
		// One document's files of one package belong together, but func main
		// begins another program.
		program := strings.NewReplacer("/", "_", ".", "_").Replace(file.document) + "_" + file.parsed.Name.Name
		if declares(file.parsed, "main") {
			programs[program]++
		}
		name := fmt.Sprintf("block%d.go", i)
		if imports(file.parsed, "testing") {
			name = fmt.Sprintf("block%d_test.go", i)
		}
		writeFile(t, filepath.Join(dir, fmt.Sprintf("%s%d", program, programs[program]), name), file.text)
	}
	addTests(t, dir)
	goCommand(t, dir, "vet", "./...")
	goCommand(t, dir, "test", "./...")
}

// addTests puts the tests in testdata beside the programs that they are for,
// which have no place for them on the page.
func addTests(t *testing.T, dir string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", "*", "*_test.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no tests in testdata: %v", err)
	}
	for _, name := range names {
		program := filepath.Join(dir, filepath.Base(filepath.Dir(name)))
		if _, err := os.Stat(program); err != nil {
			t.Errorf("%s is for no program: %v", name, err)
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(program, filepath.Base(name)), string(text))
	}
}

// newUserModule returns a directory with a module that requires this one, and
// what the tests of this one require.
func newUserModule(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	const own = "module " + modulePath + "\n"
	mod := readFile(t, "go.mod")
	if !strings.HasPrefix(mod, own) {
		t.Fatalf("go.mod does not start with %q", own)
	}
	mod = "module example.com/app\n" + strings.TrimPrefix(mod, own) +
		fmt.Sprintf("\nrequire %s v0.0.0\n\nreplace %s => %s\n", modulePath, modulePath, strconv.Quote(dir))
	dir = t.TempDir()
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

func goCommand(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
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

func declares(file *ast.File, function string) bool {
	for _, decl := range file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == function {
			return true
		}
	}
	return false
}

// needsOnlyTheRootModule reports whether file imports nothing but the standard
// library, the root module and what the root's tests require.
func needsOnlyTheRootModule(t *testing.T, file *ast.File) bool {
	t.Helper()
	required := []string{modulePath}
	for _, match := range regexp.MustCompile(`(?m)^(?:require)?\s+(\S+) v\S+`).FindAllStringSubmatch(readFile(t, "go.mod"), -1) {
		required = append(required, match[1])
	}
	for _, spec := range file.Imports {
		imported := strings.Trim(spec.Path.Value, `"`)
		first, _, _ := strings.Cut(imported, "/")
		if strings.Contains(first, ".") && !within(imported, required) || inNestedModule(imported) {
			return false
		}
	}
	return true
}

func within(imported string, modules []string) bool {
	for _, module := range modules {
		if imported == module || strings.HasPrefix(imported, module+"/") {
			return true
		}
	}
	return false
}

// inNestedModule reports whether a package below the root is of another module.
func inNestedModule(imported string) bool {
	dir, ok := strings.CutPrefix(imported, modulePath+"/")
	for ; ok && dir != "."; dir = path.Dir(dir) {
		if _, err := fs.Stat(root, path.Join(dir, "go.mod")); err == nil {
			return true
		}
	}
	return false
}

func TestFilesOfNestedModulesAreToldApart(t *testing.T) {
	t.Parallel()
	for imported, want := range map[string]bool{
		"net/http":                            true,
		modulePath:                            true,
		modulePath + "/wxphonetest":           true,
		"github.com/jarcoal/httpmock":         true,
		"github.com/stretchr/testify/require": true,
		modulePath + "/redisstore":            false,
		"github.com/gin-gonic/gin":            false,
		modulePath + "x":                      false,
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "", "package p; import "+strconv.Quote(imported), 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := needsOnlyTheRootModule(t, file); got != want {
			t.Errorf("%s: %v, want %v", imported, got, want)
		}
	}
}

// TestFragmentsAreTestedElsewhere looks for every fragment, and for the files
// that need more than the root module, in sources that have tests.
func TestFragmentsAreTestedElsewhere(t *testing.T) {
	t.Parallel()
	sources := testedSources(t)
	whole, fragments := goCode(t)
	for _, file := range whole {
		if !needsOnlyTheRootModule(t, file.parsed) {
			fragments[file.document] = append(fragments[file.document], file.text)
		}
	}
	for document, texts := range fragments {
		for _, text := range texts {
			for _, part := range withoutOmissions(text) {
				if !contains(sources, part) {
					t.Errorf("no tested source has these lines of %s:\n%s", document, part)
				}
			}
		}
	}
}

// withoutOmissions returns the parts of a fragment between lines that say that
// something is left out.
func withoutOmissions(fragment string) []string {
	return regexp.MustCompile(`(?m)^\s*// …\n`).Split(fragment, -1)
}

// testedSources returns the text of the files that documents may quote: test
// files with an Example, and the programs under examples that have tests.
func testedSources(t *testing.T) []string {
	t.Helper()
	var sources []string
	for _, name := range files(t, `_test\.go$`) {
		text := readFile(t, name)
		if strings.Contains(text, "\nfunc Example") {
			sources = append(sources, unindent(text))
		}
	}
	inTests := len(sources)
	for _, name := range files(t, `^examples/.*\.go$`) {
		tests, err := fs.Glob(root, path.Join(path.Dir(name), "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		if len(tests) > 0 {
			sources = append(sources, unindent(readFile(t, name)))
		}
	}
	if inTests < 3 || len(sources) < inTests+10 {
		t.Fatalf("%d files with Examples and %d of programs; are they still found?", inTests, len(sources)-inTests)
	}
	return sources
}

// unindent makes code comparable that is nested to different depths.
func unindent(code string) string {
	lines := bytes.Split([]byte(code), []byte("\n"))
	for i, line := range lines {
		lines[i] = bytes.TrimSpace(line)
	}
	return "\n" + string(bytes.Join(lines, []byte("\n"))) + "\n"
}

// contains reports whether one of the unindented sources has the lines of a
// fragment, whole and in a row.
func contains(sources []string, fragment string) bool {
	lines := unindent(strings.Trim(fragment, "\n"))
	for _, source := range sources {
		if strings.Contains(source, lines) {
			return true
		}
	}
	return false
}

func TestFragmentsAreSoughtByWholeLines(t *testing.T) {
	t.Parallel()
	sources := []string{unindent("package a\n\nfunc F() {\n\tg(1)\n\th(2)\n}\n")}
	for fragment, want := range map[string]bool{
		"g(1)\nh(2)\n":   true,
		"\tg(1)\n":       true,
		"package a\n":    true,
		"g(1)\n\nh(2)\n": false,
		"(1)\nh(2)\n":    false,
		"g(1)\nh(\n":     false,
	} {
		if got := contains(sources, fragment); got != want {
			t.Errorf("%q found: %v, want %v", fragment, got, want)
		}
	}
}
