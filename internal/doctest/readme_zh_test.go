package doctest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// README.zh-CN.md is held to README.md: same headings, same code, same figures.
// The links of all documents are held to the files and headings there are.

var (
	fence    = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")
	heading  = regexp.MustCompile(`(?m)^(#{1,6}) (.+)$`)
	codeSpan = regexp.MustCompile("`[^`\n]+`")
	figure   = regexp.MustCompile(`[0-9][0-9,.]*[0-9]|[0-9]`)
	link     = regexp.MustCompile(`\]\(([^()\s]+)\)|(?m:^\[[^\]]+\]: (\S+)$)`)
)

const (
	english = "README.md"
	chinese = "README.zh-CN.md"
)

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

func TestREADMEsLinkToEachOther(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		english: "English | [简体中文](README.zh-CN.md)",
		chinese: "[English](README.md) | 简体中文",
	} {
		if first, _, _ := strings.Cut(readFile(t, name), "\n"); first != want {
			t.Errorf("%s starts with %q, want %q", name, first, want)
		}
	}
}

func TestREADMEsHaveTheSameHeadings(t *testing.T) {
	t.Parallel()
	levels, texts := headings(readFile(t, english))
	levelsZH, textsZH := headings(readFile(t, chinese))
	if len(levels) < 2 {
		t.Fatalf("%s has %d headings; are they still found?", english, len(levels))
	}
	for i := range min(len(levels), len(levelsZH)) {
		if levels[i] != levelsZH[i] {
			t.Fatalf("heading %d: %s %s in English, %s %s in Chinese", i, levels[i], texts[i], levelsZH[i], textsZH[i])
		}
	}
	if len(levels) != len(levelsZH) {
		t.Fatalf("%d headings in English, %d in Chinese", len(levels), len(levelsZH))
	}
}

func TestREADMEsHaveTheSameCode(t *testing.T) {
	t.Parallel()
	blocks := fence.FindAllStringSubmatch(readFile(t, english), -1)
	blocksZH := fence.FindAllStringSubmatch(readFile(t, chinese), -1)
	if len(blocks) == 0 || len(blocks) != len(blocksZH) {
		t.Fatalf("%d code blocks in English, %d in Chinese", len(blocks), len(blocksZH))
	}
	for i, block := range blocks {
		language, code, codeZH := block[1], block[2], blocksZH[i][2]
		if language == "mermaid" { // labels are translated
			code, codeZH = withoutLabels(code), withoutLabels(codeZH)
		}
		if language != blocksZH[i][1] || code != codeZH {
			t.Errorf("code block %d differs; in English:\n%s\nin Chinese:\n%s", i, block[2], blocksZH[i][2])
		}
	}
}

// withoutLabels keeps of a sequence diagram who sends to whom.
func withoutLabels(diagram string) string {
	label := regexp.MustCompile(`(?m)(: .*| as .*|^ *opt .*)$`)
	return label.ReplaceAllString(diagram, "")
}

// tableRows returns the rows of a document's tables. An empty one separates
// two tables.
func tableRows(text string) []string {
	var rows []string
	for _, line := range strings.Split(prose(text), "\n") {
		switch {
		case strings.HasPrefix(line, "|"):
			rows = append(rows, line)
		case len(rows) > 0 && rows[len(rows)-1] != "":
			rows = append(rows, "")
		}
	}
	return rows
}

func TestREADMEsHaveTheSameTables(t *testing.T) {
	t.Parallel()
	rows, rowsZH := tableRows(readFile(t, english)), tableRows(readFile(t, chinese))
	if len(rows) == 0 || len(rows) != len(rowsZH) {
		t.Fatalf("%d rows in English, %d in Chinese", len(rows), len(rowsZH))
	}
	for i, row := range rows {
		columns, columnsZH := strings.Count(row, "|"), strings.Count(rowsZH[i], "|")
		if columns != columnsZH || !sameOccurrences(figure, row, rowsZH[i]) || !sameOccurrences(codeSpan, row, rowsZH[i]) {
			t.Errorf("these rows have other columns, figures or names:\n%s\n%s", row, rowsZH[i])
		}
	}
}

func sameOccurrences(pattern *regexp.Regexp, a, b string) bool {
	inA, inB := pattern.FindAllString(a, -1), pattern.FindAllString(b, -1)
	slices.Sort(inA)
	slices.Sort(inB)
	return slices.Equal(inA, inB)
}

// TestREADMEsNameTheSameThings compares what is set in code font, section by
// section.
func TestREADMEsNameTheSameThings(t *testing.T) {
	t.Parallel()
	sections, sectionsZH := strings.Split(prose(readFile(t, english)), "\n## "), strings.Split(prose(readFile(t, chinese)), "\n## ")
	if len(sections) != len(sectionsZH) {
		t.Fatalf("%d sections in English, %d in Chinese", len(sections), len(sectionsZH))
	}
	for i, section := range sections {
		names, namesZH := codeSpans(section), codeSpans(sectionsZH[i])
		for _, name := range names {
			if !slices.Contains(namesZH, name) {
				t.Errorf("section %d: only the English one has %s", i, name)
			}
		}
		for _, name := range namesZH {
			if !slices.Contains(names, name) {
				t.Errorf("section %d: only the Chinese one has %s", i, name)
			}
		}
	}
}

func codeSpans(text string) []string {
	names := codeSpan.FindAllString(text, -1)
	slices.Sort(names)
	return slices.Compact(names)
}

func TestREADMEListsTheExamples(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir("examples")
	if err != nil {
		t.Fatal(err)
	}
	text := readFile(t, english)
	for _, entry := range entries {
		row := fmt.Sprintf("\n| [%[1]s](examples/%[1]s) | ", entry.Name())
		if entry.IsDir() && !strings.Contains(text, row) {
			t.Errorf("%s does not list examples/%s", english, entry.Name())
		}
	}
}

// TestLinksLeadSomewhere checks the relative links of the documents; others
// would need a network.
func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	checked := 0
	for _, name := range []string{
		english,
		chinese,
		"CONTRIBUTING.md",
		"SECURITY.md",
		"CHANGELOG.md",
		filepath.Join("redisstore", "README.md"),
		filepath.Join("examples", "miniprogram", "README.md"),
	} {
		text := codeSpan.ReplaceAllString(prose(readFile(t, name)), "")
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			target := match[1] + match[2]
			if strings.Contains(target, "://") {
				continue
			}
			checked++
			if err := follow(name, target); err != nil {
				t.Errorf("%s: the link to %s is dead: %v", name, target, err)
			}
		}
	}
	if checked < 20 {
		t.Errorf("%d links; are they still found?", checked)
	}
}

// follow reports what a link in the document called from does not find.
func follow(from, target string) error {
	path, anchor, _ := strings.Cut(target, "#")
	file := from
	if path != "" {
		file = filepath.Join(filepath.Dir(from), filepath.FromSlash(path))
	}
	info, err := os.Stat(file)
	if err != nil || anchor == "" {
		return err
	}
	if info.IsDir() {
		return fmt.Errorf("%s is a directory and has no headings", file)
	}
	text, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return err
	}
	if !slices.Contains(anchors(string(text)), anchor) {
		return fmt.Errorf("%s has no heading for it", file)
	}
	return nil
}

// anchors returns what GitHub calls the headings of a document.
func anchors(text string) []string {
	_, texts := headings(text)
	seen := make(map[string]int)
	var names []string
	for _, text := range texts {
		name := slug(text)
		if n := seen[name]; n > 0 {
			names = append(names, fmt.Sprintf("%s-%d", name, n))
		} else {
			names = append(names, name)
		}
		seen[name]++
	}
	return names
}

// slug is GitHub's rule: lower case, hyphens for spaces, and no punctuation but
// hyphens and underscores. Chinese characters are letters and stay.
func slug(heading string) string {
	heading = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(heading, "$1")
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', r == '_', unicode.IsLetter(r), unicode.IsMark(r), unicode.IsNumber(r):
			return unicode.ToLower(r)
		default:
			return -1
		}
	}, heading)
}

func TestLinkAnchors(t *testing.T) {
	t.Parallel()
	for heading, want := range map[string]string{
		"A 40001 that keeps coming back":        "a-40001-that-keeps-coming-back",
		"Many processes, and when you need":     "many-processes-and-when-you-need",
		"The mini-program's side":               "the-mini-programs-side",
		"session_key never leaves":              "session_key-never-leaves",
		"From silenceper/wechat":                "from-silenceperwechat",
		"Third-party platforms (服务商)":           "third-party-platforms-服务商",
		"40001 排查":                              "40001-排查",
		"多进程部署：什么时候需要 Redis":                    "多进程部署什么时候需要-redis",
		"[0.1.0] - 2026-01-02":                  "010---2026-01-02",
		"The `code` of [a tap](https://w.test)": "the-code-of-a-tap",
	} {
		if got := slug(heading); got != want {
			t.Errorf("slug(%q) = %q, want %q", heading, got, want)
		}
	}
	if got := anchors("# A\n## B\n```sh\n# C\n```\n## B\n"); !slices.Equal(got, []string{"a", "b", "b-1"}) {
		t.Errorf("anchors = %q", got)
	}
}
