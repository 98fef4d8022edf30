package desk

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestThePageIsThereBeforeItsScriptRuns compares the texts in the HTML with the
// English words of the script.
func TestThePageIsThereBeforeItsScriptRuns(t *testing.T) {
	t.Parallel()
	words := make(map[string]string)
	english := regexp.MustCompile(`(?s)\n  en: \{(.*?)\n  \},`).FindStringSubmatch(pageHTML)
	require.NotNil(t, english)
	for _, match := range regexp.MustCompile(`\b(\w+): '([^']*)'`).FindAllStringSubmatch(english[1], -1) {
		words[match[1]] = match[2]
	}
	found := regexp.MustCompile(`data-t="(\w+)"[^>]*>([^<]*)<`).FindAllStringSubmatch(pageHTML, -1)
	require.GreaterOrEqual(t, len(found), 40)
	for _, match := range found {
		assert.Equal(t, words[match[1]], match[2], match[1])
	}
	assert.Contains(t, pageHTML, "<noscript>")
}
