package doctest

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

var link = regexp.MustCompile(`\]\(([^()\s]+)\)|(?m:^\[[^\]]+\]: (\S+)$)`)

// relativeLinks returns the targets of a text's links within this repository;
// others would need a network.
func relativeLinks(text string) []string {
	var targets []string
	for _, match := range link.FindAllStringSubmatch(codeSpan.ReplaceAllString(prose(text), ""), -1) {
		if target := match[1] + match[2]; !strings.Contains(target, "://") {
			targets = append(targets, target)
		}
	}
	return targets
}

func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	checked := 0
	for _, name := range documents(t) {
		for _, target := range relativeLinks(readFile(t, name)) {
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
	file, anchor, _ := strings.Cut(target, "#")
	if file == "" {
		file = from
	} else {
		file = path.Join(path.Dir(from), file)
	}
	info, err := fs.Stat(root, file)
	if err != nil || anchor == "" {
		return err
	}
	if info.IsDir() {
		return fmt.Errorf("%s is a directory and has no headings", file)
	}
	text, err := fs.ReadFile(root, file)
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
