package redisstore

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/wxphone/wxphone"
)

// A value is "v1.<scheme>.<fingerprint>.<payload>". The part before the payload
// is its header. The header depends only on the scheme, the Redis key and the
// token, so that DeleteIf can compare it.
const (
	valueVersion  = "v1"
	plainName     = "plain"     // payload: the token's JSON
	encryptedName = "aes256gcm" // payload: base64 of the nonce, the encrypted JSON and the tag
	keySize       = 32
)

var errKeyLength = errors.New("the key must have 32 bytes")

// These errors complete "the value of …" for a value that cannot be read. They
// contain no part of the value.
var (
	errWrongType   = errors.New("is not a string")
	errFormat      = errors.New("was not written by this version of the package")
	errEncrypted   = errors.New("is encrypted, and this store has no key")
	errUnencrypted = errors.New("is not encrypted, but this store accepts only encrypted values")
	errUndecrypted = errors.New("cannot be decrypted: it has another encryption key, belongs to another Redis key, or is damaged")
	errDamaged     = errors.New("is damaged")
)

// scheme is a way to write tokens: unencrypted, or encrypted with one key.
type scheme struct {
	name string
	// keys is a func because of fmt: in an unexported field it calls no Format,
	// and may print what a pointer points to.
	keys func() keys
}

type keys struct {
	aead        cipher.AEAD // nil in plain
	fingerprint []byte      // the key of the HMAC; nil in plain
}

var plain = scheme{name: plainName, keys: func() keys { return keys{} }}

// encrypted returns the scheme of an encryption key. It derives two keys,
// because each must be used for only one purpose.
func encrypted(key []byte) (scheme, error) {
	if len(key) != keySize {
		return scheme{}, errKeyLength
	}
	encryption, err := hkdf.Key(sha256.New, key, nil, "wxphone/redisstore v1 encryption", keySize)
	if err != nil {
		return scheme{}, err
	}
	fingerprint, err := hkdf.Key(sha256.New, key, nil, "wxphone/redisstore v1 fingerprint", keySize)
	if err != nil {
		return scheme{}, err
	}
	block, err := aes.NewCipher(encryption)
	if err != nil {
		return scheme{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return scheme{}, err
	}
	both := keys{aead: aead, fingerprint: fingerprint}
	return scheme{name: encryptedName, keys: func() keys { return both }}, nil
}

// header returns the start of the value of a token under a Redis key. The
// server compares tokens by the fingerprint in it. With encryption, only a
// holder of the key can tell which token a fingerprint belongs to.
func (s scheme) header(name, accessToken string) string {
	mac := hmac.New(sha256.New, s.keys().fingerprint)
	// The length separates name and accessToken.
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(name))))
	mac.Write([]byte(name))
	mac.Write([]byte(accessToken))
	return valueVersion + "." + s.name + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) + "."
}

func (s scheme) encode(name string, token wxphone.Token) (string, error) {
	token.ExpiresAt = token.ExpiresAt.UTC()
	payload, err := json.Marshal(token) //nolint:gosec // the token itself must be stored
	if err != nil {
		return "", fmt.Errorf("redisstore: save: %w", err) // an expiry beyond year 9999
	}
	header := s.header(name, token.AccessToken)
	aead := s.keys().aead
	if aead == nil {
		return header + string(payload), nil
	}
	sealed := aead.Seal(nil, nil, payload, associated(header, name)) //nolint:gosec // this AEAD generates its nonces
	return header + base64.RawURLEncoding.EncodeToString(sealed), nil
}

// associated returns the data that a ciphertext is bound to: its header and its
// Redis key, so that a value is not accepted under another key.
func associated(header, name string) []byte { return []byte(header + name) }

// decode decodes a value written with one of schemes.
func decode(schemes []scheme, name, value string) (wxphone.Token, error) {
	parts := strings.SplitN(value, ".", 4)
	if len(parts) != 4 || parts[0] != valueVersion {
		return wxphone.Token{}, errFormat
	}
	header, payload := value[:len(value)-len(parts[3])], parts[3]
	switch parts[1] {
	case schemes[0].name: // the others differ only in their key
	case encryptedName:
		return wxphone.Token{}, errEncrypted
	case plainName:
		return wxphone.Token{}, errUnencrypted
	default:
		return wxphone.Token{}, errFormat
	}
	for _, s := range schemes {
		text, ok := s.open(header, name, payload)
		if !ok {
			continue
		}
		var token wxphone.Token
		// The comparison checks what DeleteIf relies on. It is also a checksum
		// of values that are not encrypted.
		if json.Unmarshal(text, &token) != nil || token.AccessToken == "" || s.header(name, token.AccessToken) != header {
			return wxphone.Token{}, errDamaged
		}
		return token, nil
	}
	return wxphone.Token{}, errUndecrypted
}

// open returns the JSON in a payload. ok is false if this scheme's key is not
// the right one.
func (s scheme) open(header, name, payload string) (text []byte, ok bool) {
	aead := s.keys().aead
	if aead == nil {
		return []byte(payload), true
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(payload)
	if err != nil {
		return nil, false
	}
	text, err = aead.Open(nil, nil, sealed, associated(header, name))
	return text, err == nil
}
