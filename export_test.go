package wxphone

import (
	"bytes"
	"context"
)

// RedeemUnmerged is GetPhoneNumber without duplicates.go, to measure what that
// costs.
func (c *Client) RedeemUnmerged(ctx context.Context, code string, opts ...PhoneOption) (*PhoneInfo, error) {
	key, err := c.redemptionKey(ctx, code, opts)
	if err != nil {
		return nil, err
	}
	return c.redeem(ctx, key)
}

// MemoryOfDecryption returns what the plaintext, the session_key and the data
// were in while they were needed, and what is there once they are not.
func MemoryOfDecryption(key SessionKey, encryptedData, iv string) (during, after []byte) {
	w := newWorkspace()
	w.decryptCBC(key, encryptedData, iv, 1)
	memory := [][]byte{w.plaintext, w.key, w.chain}
	during = bytes.Join(memory, nil)
	w.release()
	return during, bytes.Join(memory, nil)
}
