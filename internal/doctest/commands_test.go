package doctest

import (
	"io/fs"
	"path"
	"regexp"
	"strings"
	"testing"
)

// commands returns the shell commands of a document: the lines of its sh
// blocks, and what is set in code font and begins with go or cd.
func commands(text string) []string {
	var found []string
	for _, block := range fence.FindAllStringSubmatch(text, -1) {
		if block[1] == "sh" {
			found = append(found, strings.Split(strings.TrimSpace(block[2]), "\n")...)
		}
	}
	for _, span := range codeSpan.FindAllString(prose(text), -1) {
		if span = strings.Trim(span, "`"); strings.HasPrefix(span, "go ") || strings.HasPrefix(span, "cd ") {
			found = append(found, span)
		}
	}
	return found
}

// TestCommandsNameWhatExists checks the directories, tests and benchmarks that
// the documents tell a reader to run. A directory is one of the root's.
func TestCommandsNameWhatExists(t *testing.T) {
	t.Parallel()
	inDir := regexp.MustCompile(`\bcd (\S+)`)
	program := regexp.MustCompile(`\bgo run \./(\S+)`)
	published := regexp.MustCompile(`^go (?:run|install) ` + modulePath + `/(\S+)@latest(?: (\w+))?`)
	checked := 0
	for _, document := range documents(t) {
		for _, command := range commands(readFile(t, document)) {
			var directories []string
			for _, pattern := range []*regexp.Regexp{inDir, program} {
				for _, match := range pattern.FindAllStringSubmatch(command, -1) {
					directories = append(directories, match[1])
				}
			}
			for _, dir := range directories {
				checked++
				if !hasFile(t, dir, `(?m)^package main$`) {
					t.Errorf("%s: there is no program for %q", document, command)
				}
			}
			if match := published.FindStringSubmatch(command); match != nil {
				checked++
				if !hasFile(t, match[1], `(?m)^package main$`) || match[2] != "" && !hasFile(t, match[1], `(?m)^\t\t\{"`+match[2]+`", `) {
					t.Errorf("%s: there is no program, or no command of it, for %q", document, command)
				}
			}
			if dir, tests := testsOf(command); tests != "" {
				checked++
				if !hasFile(t, dir, `(?m)^func \w*(`+tests+`)\w*\([tb] \*testing\.`) {
					t.Errorf("%s: there are no tests for %q", document, command)
				}
			}
		}
	}
	if checked < 10 {
		t.Errorf("%d commands; are they still found?", checked)
	}
}

// testsOf returns the directory that a go test runs in, and the pattern of the
// tests or benchmarks that it picks there; "" if it picks none or all of them.
func testsOf(command string) (dir, tests string) {
	_, arguments, ok := strings.Cut(command, "go test ")
	if !ok {
		return "", ""
	}
	fields := strings.Fields(arguments)
	for i, field := range fields[:len(fields)-1] {
		if value := strings.Trim(fields[i+1], "'"); (field == "-run" || field == "-bench") && value != "^$" && value != "." {
			tests = value
		}
	}
	return path.Clean(fields[len(fields)-1]), tests
}

// hasFile reports whether a Go file in dir has what pattern matches.
func hasFile(t *testing.T, dir, pattern string) bool {
	t.Helper()
	names, err := fs.Glob(root, path.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile(pattern)
	for _, name := range names {
		if match.MatchString(readFile(t, name)) {
			return true
		}
	}
	return false
}

func TestTestsOfACommand(t *testing.T) {
	t.Parallel()
	for command, want := range map[string][2]string{
		"go test ./...": {"...", ""},
		"X=1 go test -count=1 -v -run TestA ./internal/b": {"internal/b", "TestA"},
		"go test -run '^$' -bench 'A|B' .":                {".", "A|B"},
		"go test -run '^$' -bench . -timeout 30m":         {"30m", ""},
		"go run ./a": {"", ""},
	} {
		dir, tests := testsOf(command)
		if got := [2]string{dir, tests}; got != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
}
