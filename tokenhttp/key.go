package tokenhttp

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"

	"github.com/wxphone/wxphone"
)

const (
	// minKey is the length of 16 random bytes in hex.
	minKey = 32
	scheme = "Bearer"
)

// checkKey rejects a key that can be guessed or cannot be sent in a header. The
// error does not quote the key.
func checkKey(key string) error {
	if len(key) < minKey {
		return invalid("key", fmt.Sprintf("has fewer than %d bytes", minKey))
	}
	for _, c := range []byte(key) {
		if c <= ' ' || c > '~' {
			return invalid("key", "has white space, such as a newline at its end, or another character that is not visible ASCII")
		}
	}
	return nil
}

// invalid returns an error that matches wxphone.ErrInvalidArgument and names
// what is wrong.
func invalid(name, problem string) error {
	return fmt.Errorf("%w: %s %s", wxphone.ErrInvalidArgument, name, problem)
}

// digest is the digest of a handler's key. All digests have the same length, so
// that comparing them takes the same time for every key.
type digest [sha256.Size]byte

// matches reports whether a request has the key.
func (d digest) matches(header http.Header) bool {
	name, key, _ := strings.Cut(header.Get("Authorization"), " ")
	sent := sha256.Sum256([]byte(strings.Trim(key, " ")))
	return subtle.ConstantTimeCompare(sent[:], d[:]) == 1 && strings.EqualFold(name, scheme)
}
