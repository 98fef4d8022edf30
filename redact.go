package wxphone

import (
	"fmt"
	"io"

	"github.com/wxphone/wxphone/internal/redact"
)

// redacted is what a secret prints as.
const redacted = redact.Mark

func writeRedacted(f fmt.State) {
	_, _ = io.WriteString(f, redacted)
}
