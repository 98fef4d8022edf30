package wxphone

import (
	"net/http"

	"github.com/wxphone/wxphone/internal/transport"
)

// DefaultHTTPClient lets the external tests trust a test server's certificate
// without giving up the transport that users get.
func DefaultHTTPClient() *http.Client { return transport.DefaultClient().HTTP() }
