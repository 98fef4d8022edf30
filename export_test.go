package wxphone

import "context"

// RedeemUnmerged is GetPhoneNumber without duplicates.go, to measure what that
// costs.
func (c *Client) RedeemUnmerged(ctx context.Context, code string, opts ...PhoneOption) (*PhoneInfo, error) {
	key, err := c.redemptionKey(ctx, code, opts)
	if err != nil {
		return nil, err
	}
	return c.redeem(ctx, key)
}
