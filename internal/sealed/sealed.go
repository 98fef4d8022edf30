// Package sealed keeps a code's result where others can read it: under a name
// that does not tell the code, and encrypted with a key that only who has the
// code can derive. So no key has to be managed.
//
// All of it rests on the code being impossible to guess: a phone button's code
// has 256 random bits.
package sealed

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

const (
	version   = 1 // the first byte of a sealed value
	keySize   = 32
	nonceSize = 12

	salt      = "wxphone redeemed code v1"
	nameLabel = "name"
	sealLabel = "encryption"
)

// Box holds the result of one code.
type Box struct {
	// Name is what the box is called in a store. It tells neither the code nor
	// the openid.
	Name string

	key   []byte
	bound []byte // what a sealed value belongs to, as additional data
}

// NewBox returns the box of a code that was redeemed for appID, and for openID
// if that is not empty. Another appid, openid or code is another box with
// another key.
func NewBox(appID, openID, code string) *Box {
	secret := extract([]byte(salt), []byte(code))
	who := appendText(appendText(nil, appID), openID)
	name := "wxphone:duplicate:" + appID + ":" + hex.EncodeToString(expand(secret, appendText(who, nameLabel), keySize))
	return &Box{
		Name:  name,
		key:   expand(secret, appendText(who, sealLabel), keySize),
		bound: appendText(append([]byte{version}, who...), name),
	}
}

// appendText appends text with its length, so that no two lists of texts are
// the same bytes.
func appendText(b []byte, text string) []byte {
	b = binary.AppendUvarint(b[:len(b):len(b)], uint64(len(text)))
	return append(b, text...)
}

// Seal encrypts plaintext.
func (b *Box) Seal(plaintext []byte) ([]byte, error) {
	aead, err := b.aead()
	if err != nil {
		return nil, err
	}
	value := make([]byte, 1+nonceSize, 1+nonceSize+len(plaintext)+aead.Overhead())
	value[0] = version
	if _, err := rand.Read(value[1:]); err != nil {
		return nil, fmt.Errorf("wxphone: no random numbers: %w", err)
	}
	return aead.Seal(value, value[1:], plaintext, b.bound), nil
}

// Open decrypts what Seal returned. It reports false for anything else, another
// box's values among it.
func (b *Box) Open(value []byte) (plaintext []byte, ok bool) {
	if len(value) < 1+nonceSize || value[0] != version {
		return nil, false
	}
	aead, err := b.aead()
	if err != nil {
		return nil, false
	}
	plaintext, err = aead.Open(nil, value[1:1+nonceSize], value[1+nonceSize:], b.bound)
	return plaintext, err == nil
}

func (b *Box) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(b.key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// extract is the first step of HKDF-SHA256 (RFC 5869).
func extract(salt, secret []byte) []byte {
	mac := hmac.New(sha256.New, salt)
	mac.Write(secret)
	return mac.Sum(nil)
}

// expand is the second step of HKDF-SHA256, for at most 255 times 32 bytes.
func expand(key, info []byte, size int) []byte {
	var out, block []byte
	for i := byte(1); len(out) < size; i++ {
		mac := hmac.New(sha256.New, key)
		mac.Write(block)
		mac.Write(info)
		mac.Write([]byte{i})
		block = mac.Sum(nil)
		out = append(out, block...)
	}
	return out[:size]
}
