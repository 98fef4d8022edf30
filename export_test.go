package wxphone

import "net/http"

// DefaultHTTPClient lets the external tests trust a test server's certificate
// without giving up the transport that users get.
func DefaultHTTPClient() *http.Client { return sharedHTTPClient() }
