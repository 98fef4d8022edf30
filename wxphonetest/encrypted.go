package wxphonetest

import (
	"bytes"
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/wxphone/wxphone"
)

const pathCheckEncryptedMsg = "/wxa/business/checkencryptedmsg"

// encryptedMemory is how long checkencryptedmsg knows data that WeChat
// encrypted.
const encryptedMemory = 3 * 24 * time.Hour

// Encrypt returns the encryptedData and iv that the button of the legacy flow
// returns to the mini-program when the user shares p. They are encrypted with
// the user's current session_key. A user without one gets one.
//
// checkencryptedmsg knows the data for three days. If p has no watermark, it
// gets one as in [Server.IssueCode]. For a PhoneNumber without "+", a
// missing PurePhoneNumber is the same, and a missing CountryCode is 86. To leave something out, use [Seal].
func (s *Server) Encrypt(openid string, p wxphone.PhoneInfo) (encryptedData, iv string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if p.PhoneNumber != "" && !strings.HasPrefix(p.PhoneNumber, "+") {
		p.PurePhoneNumber = cmp.Or(p.PurePhoneNumber, p.PhoneNumber)
		p.CountryCode = cmp.Or(p.CountryCode, "86")
	}
	encryptedData, iv = Seal(s.login(openid).key, mustEncode(s.wirePhone(p, now)))
	s.encrypted[digest(encryptedData)] = now
	return encryptedData, iv
}

// Seal encrypts payload in the format of the legacy flow. It is like an
// attacker who has a session_key: no server knows the result.
//
// A []byte or string is encrypted unchanged, any other value as JSON. Seal
// panics if key is not base64 of 16 bytes, or if payload cannot be encoded as
// JSON.
func Seal(key wxphone.SessionKey, payload any) (encryptedData, iv string) {
	secret, err := base64.StdEncoding.DecodeString(string(key))
	if err != nil || len(secret) != 16 {
		panic("wxphonetest: Seal: the key is not base64 of 16 bytes")
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		panic("wxphonetest: Seal: " + err.Error())
	}
	data := pad(plaintext(payload), block.BlockSize())
	vector := make([]byte, block.BlockSize())
	random(vector)
	cipher.NewCBCEncrypter(block, vector).CryptBlocks(data, data)
	return base64.StdEncoding.EncodeToString(data), base64.StdEncoding.EncodeToString(vector)
}

func plaintext(payload any) []byte {
	switch p := payload.(type) {
	case []byte:
		return p
	case string:
		return []byte(p)
	}
	b, err := encode(payload)
	if err != nil {
		panic(fmt.Sprintf("wxphonetest: Seal: %T has no JSON form: %v", payload, err))
	}
	return b
}

// pad returns a copy of text with PKCS#7 padding.
func pad(text []byte, blockSize int) []byte {
	n := blockSize - len(text)%blockSize
	return append(bytes.Clone(text), bytes.Repeat([]byte{byte(n)}, n)...) //nolint:gosec // n is 1 to 16
}

// digest returns the hash by which checkencryptedmsg identifies data, which is
// that of its base64 text.
func digest(encryptedData string) string {
	sum := sha256.Sum256([]byte(encryptedData))
	return hex.EncodeToString(sum[:])
}

func (s *Server) serveCheckEncryptedMsg(c *call) any {
	var body struct {
		Hash string `json:"encrypted_msg_hash"`
	}
	if refusal := c.decode(&body); refusal != nil {
		return refusal
	}
	if raw, err := hex.DecodeString(body.Hash); err != nil || len(raw) != sha256.Size || hex.EncodeToString(raw) != body.Hash {
		return c.reject(40097, "encrypted_msg_hash is not the SHA-256 of encryptedData in lowercase hex")
	}
	type check struct {
		outcome
		// WeChat's spelling.
		Valid      bool  `json:"vaild"`
		CreateTime int64 `json:"create_time"`
	}
	madeAt, ok := s.encrypted[body.Hash]
	if ok && c.now.Sub(madeAt) <= encryptedMemory {
		return check{success, true, madeAt.Unix()}
	}
	why := "the server has encrypted no data with this hash since it started or was reset"
	if ok {
		why = "the data was encrypted " + ago(c.now, madeAt) + "; WeChat knows it for 3 days"
	}
	refusal := c.fail(1, "%s", why)
	if s.unknownIsFalse {
		return check{success, false, 0}
	}
	return refusal
}
