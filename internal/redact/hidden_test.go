package redact_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/wxphone/wxphone/internal/redact"
)

func TestHiddenValueIsPrintedByNoVerb(t *testing.T) {
	t.Parallel()
	text, bytes := redact.Conceal(secret), redact.Conceal([]byte(secret))
	type held struct {
		text    redact.Hidden[string]
		bytes   redact.Hidden[[]byte]
		pointer *redact.Hidden[string]
		any     any
	}
	h := held{text, bytes, &text, text}
	for verb := 'A'; verb <= 'z'; verb++ {
		for _, flags := range []string{"", "+", "#", " "} {
			for _, v := range []any{text, &text, h, &h, []held{h}, []*held{&h}} {
				got := fmt.Sprintf("%"+flags+string(verb), v)
				assert.NotContains(t, got, secret)
				assert.NotContains(t, got, fmt.Sprintf("%x", secret))
				assert.NotContains(t, got, "53 102 50 100") // as bytes
			}
		}
	}
	assert.Equal(t, secret, text.Reveal())
	assert.Equal(t, []byte(secret), bytes.Reveal())
	assert.Empty(t, redact.Hidden[string]{}.Reveal())
}
