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

// A value is "v1.<scheme>.<fingerprint>.<payload>". What comes before the
// payload is its header, which depends on the scheme, the Redis key and the
// token alone: DeleteIf compares it.
const (
	valueVersion  = "v1"
	plainName     = "plain"     // the payload is the token's JSON
	encryptedName = "aes256gcm" // the payload is base64 of nonce, ciphertext of the JSON and tag
	keySize       = 32
)

var errKeyLength = errors.New("a key is 32 bytes")

// What follows "the value of …" when a value cannot be read. None of these
// repeats any of it.
var (
	errWrongType   = errors.New("is not a string")
	errFormat      = errors.New("was not written by this package, or by a later version of it")
	errEncrypted   = errors.New("is encrypted, and this store has no key")
	errUnencrypted = errors.New("is not encrypted, and this store takes only what is")
	errUndecrypted = errors.New("cannot be decrypted: it has another encryption key, belongs to another Redis key, or is damaged")
	errDamaged     = errors.New("is damaged")
)

// scheme is a way to write tokens: plainly, or encrypted with one key.
type scheme struct {
	name        string
	aead        cipher.AEAD // nil in plain
	fingerprint []byte      // the key of the HMAC; nil in plain, where it protects nothing
}

var plain = scheme{name: plainName}

// encrypted returns the scheme of an encryption key. Two keys are derived from
// it, for each must do only one thing.
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
	return scheme{name: encryptedName, aead: aead, fingerprint: fingerprint}, nil
}

// header returns what the value of a token under a Redis key begins with. The
// fingerprint in it lets the server compare tokens; with encryption, only who
// has the key can tell whether a token is the one it was made of.
func (s scheme) header(name, accessToken string) string {
	mac := hmac.New(sha256.New, s.fingerprint)
	// The length keeps name and token apart.
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(name))))
	mac.Write([]byte(name))
	mac.Write([]byte(accessToken))
	return valueVersion + "." + s.name + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) + "."
}

func (s scheme) encode(name string, token wxphone.Token) (string, error) {
	token.ExpiresAt = token.ExpiresAt.UTC()
	payload, err := json.Marshal(token) //nolint:gosec // the token itself is what is to be stored
	if err != nil {
		return "", fmt.Errorf("redisstore: save: %w", err) // an expiry beyond year 9999
	}
	header := s.header(name, token.AccessToken)
	if s.aead == nil {
		return header + string(payload), nil
	}
	sealed := s.aead.Seal(nil, nil, payload, associated(header, name)) //nolint:gosec // this AEAD makes its nonces itself
	return header + base64.RawURLEncoding.EncodeToString(sealed), nil
}

// associated is the data that a ciphertext is bound to: its header and its
// Redis key, so that no value passes for another key's.
func associated(header, name string) []byte { return []byte(header + name) }

// decode reads a value that was written in one of schemes.
func decode(schemes []scheme, name, value string) (wxphone.Token, error) {
	parts := strings.SplitN(value, ".", 4)
	if len(parts) != 4 || parts[0] != valueVersion {
		return wxphone.Token{}, errFormat
	}
	header, payload := value[:len(value)-len(parts[3])], parts[3]
	switch parts[1] {
	case schemes[0].name: // the others differ in their key alone
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
		// Beyond checking what DeleteIf relies on, the header is a checksum
		// where nothing is encrypted.
		if json.Unmarshal(text, &token) != nil || token.AccessToken == "" || s.header(name, token.AccessToken) != header {
			return wxphone.Token{}, errDamaged
		}
		return token, nil
	}
	return wxphone.Token{}, errUndecrypted
}

// open returns the JSON in a payload, if this scheme's key is the right one.
func (s scheme) open(header, name, payload string) (text []byte, ok bool) {
	if s.aead == nil {
		return []byte(payload), true
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(payload)
	if err != nil {
		return nil, false
	}
	text, err = s.aead.Open(nil, nil, sealed, associated(header, name))
	return text, err == nil
}
