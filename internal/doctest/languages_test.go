package doctest

import (
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The documents in two languages are kept in step: same headings, same code,
// same tables, same names.

// forEachPair runs check for each English document and its translation.
func forEachPair(t *testing.T, check func(t *testing.T, english, chinese string)) {
	t.Helper()
	t.Parallel()
	for english, chinese := range translations(t) {
		t.Run(english, func(t *testing.T) {
			t.Parallel()
			for _, name := range []string{english, chinese} {
				if _, err := fs.Stat(root, name); err != nil {
					t.Fatal(err)
				}
			}
			check(t, english, chinese)
		})
	}
}

func TestDocumentsExistInBothLanguagesAndLinkToEachOther(t *testing.T) {
	forEachPair(t, func(t *testing.T, english, chinese string) {
		there, err := filepath.Rel(path.Dir(english), chinese)
		if err != nil {
			t.Fatal(err)
		}
		back, err := filepath.Rel(path.Dir(chinese), english)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{
			english: fmt.Sprintf("English | [简体中文](%s)", filepath.ToSlash(there)),
			chinese: fmt.Sprintf("[English](%s) | 简体中文", filepath.ToSlash(back)),
		} {
			lines := strings.SplitN(readFile(t, name), "\n", 4)
			if len(lines) < 4 || lines[0] != want || lines[1] != "" || !strings.HasPrefix(lines[2], "# ") {
				t.Errorf("%s starts with %q; want %q, an empty line and the title", name, lines[:len(lines)-1], want)
			}
		}
	})
}

func TestHeadingsAreInStep(t *testing.T) {
	forEachPair(t, func(t *testing.T, english, chinese string) {
		levels, texts := headings(readFile(t, english))
		levelsZH, textsZH := headings(readFile(t, chinese))
		for i := range min(len(levels), len(levelsZH)) {
			if levels[i] != levelsZH[i] {
				t.Fatalf("heading %d: %s %s in English, %s %s in Chinese", i, levels[i], texts[i], levelsZH[i], textsZH[i])
			}
		}
		if len(levels) == 0 || len(levels) != len(levelsZH) {
			t.Fatalf("%d headings in English, %d in Chinese", len(levels), len(levelsZH))
		}
	})
}

func TestCodeIsInStep(t *testing.T) {
	forEachPair(t, func(t *testing.T, english, chinese string) {
		blocks := fence.FindAllStringSubmatch(readFile(t, english), -1)
		blocksZH := fence.FindAllStringSubmatch(readFile(t, chinese), -1)
		if len(blocks) != len(blocksZH) {
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
	})
}

// withoutLabels keeps of a diagram who leads to whom.
func withoutLabels(diagram string) string {
	label := regexp.MustCompile(`(?m)(: .*| as .*|^ *opt .*)$`)
	return label.ReplaceAllString(diagram, "")
}

func TestTablesAreInStep(t *testing.T) {
	figure := regexp.MustCompile(`[0-9][0-9,.]*[0-9]|[0-9]`)
	forEachPair(t, func(t *testing.T, english, chinese string) {
		inEnglish, inChinese := tables(readFile(t, english)), tables(readFile(t, chinese))
		if len(inEnglish) != len(inChinese) {
			t.Fatalf("%d tables in English, %d in Chinese", len(inEnglish), len(inChinese))
		}
		for i := range inEnglish {
			rows := append([][]string{inEnglish[i].header}, inEnglish[i].rows...)
			rowsZH := append([][]string{inChinese[i].header}, inChinese[i].rows...)
			if len(rows) != len(rowsZH) {
				t.Errorf("table %d, %q: %d rows in English, %d in Chinese", i, rows[0], len(rows), len(rowsZH))
				continue
			}
			for j, row := range rows {
				text, textZH := strings.Join(row, " | "), strings.Join(rowsZH[j], " | ")
				if len(row) != len(rowsZH[j]) || !sameOccurrences(figure, text, textZH) || !sameOccurrences(codeSpan, text, textZH) {
					t.Errorf("these rows have other columns, figures or names:\n%s\n%s", text, textZH)
				}
			}
		}
	})
}

func sameOccurrences(pattern *regexp.Regexp, a, b string) bool {
	inA, inB := pattern.FindAllString(a, -1), pattern.FindAllString(b, -1)
	slices.Sort(inA)
	slices.Sort(inB)
	return slices.Equal(inA, inB)
}

// TestNamesAreInStep compares what is set in code font, section by section.
func TestNamesAreInStep(t *testing.T) {
	forEachPair(t, func(t *testing.T, english, chinese string) {
		sections := strings.Split(prose(readFile(t, english)), "\n## ")
		sectionsZH := strings.Split(prose(readFile(t, chinese)), "\n## ")
		if len(sections) != len(sectionsZH) {
			t.Fatalf("%d sections in English, %d in Chinese", len(sections), len(sectionsZH))
		}
		for i, section := range sections {
			title, _, _ := strings.Cut(section, "\n")
			names, namesZH := codeSpans(section), codeSpans(sectionsZH[i])
			for _, name := range names {
				if !slices.Contains(namesZH, name) {
					t.Errorf("section %q: only the English one has %s", title, name)
				}
			}
			for _, name := range namesZH {
				if !slices.Contains(names, name) {
					t.Errorf("section %q: only the Chinese one has %s", title, name)
				}
			}
		}
	})
}

func codeSpans(text string) []string {
	names := codeSpan.FindAllString(text, -1)
	slices.Sort(names)
	return slices.Compact(names)
}

// TestLinksAreInStep compares where the links of a section lead, in the order
// of the targets: to the same page in the reader's language.
func TestLinksAreInStep(t *testing.T) {
	forEachPair(t, func(t *testing.T, english, chinese string) {
		sections := strings.Split(prose(readFile(t, english)), "\n## ")
		sectionsZH := strings.Split(prose(readFile(t, chinese)), "\n## ")
		for i := range min(len(sections), len(sectionsZH)) {
			if i == 0 { // the links between the languages
				continue
			}
			title, _, _ := strings.Cut(sections[i], "\n")
			targets, targetsZH := linkedFiles(t, english, sections[i]), linkedFiles(t, chinese, sectionsZH[i])
			if !slices.Equal(targets, targetsZH) {
				t.Errorf("section %q: links to %q in English, to %q in Chinese", title, targets, targetsZH)
			}
		}
	})
}

// linkedFiles returns the sorted files that a section of a document links to,
// named as in English.
func linkedFiles(t *testing.T, document, section string) []string {
	t.Helper()
	english := make(map[string]string)
	for name, translation := range translations(t) {
		english[translation] = name
	}
	var targets []string
	for _, target := range relativeLinks(section) {
		file, _, _ := strings.Cut(target, "#")
		if file == "" {
			file = document
		} else {
			file = path.Join(path.Dir(document), file)
		}
		if original, ok := english[file]; ok {
			file = original
		} else if base, ok := strings.CutPrefix(file, pagesZH+"/"); ok {
			file = path.Join(pages, base)
		}
		targets = append(targets, file)
	}
	slices.Sort(targets)
	return targets
}
