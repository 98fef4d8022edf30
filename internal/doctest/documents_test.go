package doctest

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	readme   = "README.md"
	readmeZH = "README.zh-CN.md"
	pages    = "docs"
	pagesZH  = "docs/zh-CN"
)

var (
	fence    = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")
	heading  = regexp.MustCompile(`(?m)^(#{1,6}) (.+)$`)
	codeSpan = regexp.MustCompile("`[^`\n]+`")
)

// root is the directory of the root module. Names in it have slashes.
var root = os.DirFS(filepath.Join("..", ".."))

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := fs.ReadFile(root, name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// files returns the names of the files whose name matches pattern.
func files(t *testing.T, pattern string) []string {
	t.Helper()
	match := regexp.MustCompile(pattern)
	var names []string
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "node_modules"):
			return filepath.SkipDir
		case !entry.IsDir() && match.MatchString(name):
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// documents returns the paths of all Markdown files.
func documents(t *testing.T) []string {
	t.Helper()
	names := files(t, `\.md$`)
	for _, name := range []string{readme, readmeZH} {
		if !slices.Contains(names, name) {
			t.Fatalf("%s is not among the documents %q; are they still found?", name, names)
		}
	}
	return names
}

// translations returns the Chinese document for each English one that has to
// have one.
func translations(t *testing.T) map[string]string {
	t.Helper()
	pairs := map[string]string{readme: readmeZH}
	for _, name := range documents(t) {
		switch path.Dir(name) {
		case pages:
			pairs[name] = path.Join(pagesZH, path.Base(name))
		case pagesZH:
			pairs[path.Join(pages, path.Base(name))] = name
		}
	}
	return pairs
}

// prose returns a document without its code blocks.
func prose(text string) string { return fence.ReplaceAllString(text, "") }

// headings returns the levels and the texts of a document's headings.
func headings(text string) (levels, texts []string) {
	for _, match := range heading.FindAllStringSubmatch(prose(text), -1) {
		levels = append(levels, match[1])
		texts = append(texts, match[2])
	}
	return levels, texts
}

// table is one of a document's tables.
type table struct {
	header []string
	rows   [][]string
}

// tables returns a document's tables.
func tables(text string) []table {
	var found []table
	inside := false
	for _, line := range strings.Split(prose(text), "\n") {
		if !strings.HasPrefix(line, "|") {
			inside = false
			continue
		}
		row := cells(line)
		switch {
		case !inside:
			found = append(found, table{header: row})
		case strings.Trim(line, "|-: ") != "":
			last := &found[len(found)-1]
			last.rows = append(last.rows, row)
		}
		inside = true
	}
	return found
}

// cells returns the cells of a line of a table. A bar in a cell is written \|,
// in code too.
func cells(line string) []string {
	line = strings.ReplaceAll(line, `\|`, "\x00")
	line = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(line), "|"), "|")
	parts := strings.Split(line, "|")
	for i, part := range parts {
		parts[i] = strings.ReplaceAll(strings.TrimSpace(part), "\x00", `\|`)
	}
	return parts
}

// column returns the index of the column with this heading, or -1.
func (t table) column(name string) int { return slices.Index(t.header, name) }

func TestTablesHaveTheirColumnsInEveryRow(t *testing.T) {
	t.Parallel()
	checked := 0
	for _, name := range documents(t) {
		for _, found := range tables(readFile(t, name)) {
			for _, row := range found.rows {
				checked++
				if len(row) != len(found.header) {
					t.Errorf("%s: a row has %d cells, its table %d columns:\n%q", name, len(row), len(found.header), row)
				}
			}
		}
	}
	if checked < 50 {
		t.Errorf("%d rows; are they still found?", checked)
	}
}
