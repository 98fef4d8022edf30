package wxphone

import (
	"context"
	"net/http"

	"github.com/wxphone/wxphone/internal/transport"
)

// DefaultHTTPClient lets the external tests trust a test server's certificate
// without giving up the transport that users get.
func DefaultHTTPClient() *http.Client { return transport.DefaultClient().HTTP() }

// RedeemUnmerged is GetPhoneNumber without duplicates.go, to measure what that
// costs.
func (c *Client) RedeemUnmerged(ctx context.Context, code string, opts ...PhoneOption) (*PhoneInfo, error) {
	key, err := c.redemptionKey(ctx, code, opts)
	if err != nil {
		return nil, err
	}
	return c.redeem(ctx, key)
}
