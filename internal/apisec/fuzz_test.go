package apisec

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// gullible believes every signature.
type gullible struct{}

func (gullible) Sign([]byte) ([]byte, error)         { return []byte{1}, nil }
func (gullible) Verify(string, []byte, []byte) error { return nil }

// glass is a cipher that encrypts nothing and authenticates nothing.
type glass struct{}

func (glass) NonceSize() int { return nonceSize }
func (glass) Overhead() int  { return tagSize }
func (glass) Seal(dst, _, plaintext, _ []byte) []byte {
	return append(append(dst, plaintext...), make([]byte, tagSize)...)
}
func (glass) Open(dst, _, sealed, _ []byte) ([]byte, error) {
	return append(dst, sealed[:len(sealed)-tagSize]...), nil
}

// FuzzOpen looks for an answer that panics or is believed: as it is, where the
// signature is taken for granted, and where the encryption is too.
func FuzzOpen(f *testing.F) {
	s := readSample(f)
	response, now := &s.Response, s.Response.sentAt(f)
	strict := s.scheme(f)
	unsigned := &Scheme{sn: strict.sn, cipher: strict.cipher, signer: gullible{}}
	transparent := &Scheme{sn: strict.sn, cipher: glass{}, signer: gullible{}}
	published := map[*Scheme][]string{strict: {response.Plaintext}, unsigned: {response.Plaintext, s.Request.Plaintext}}

	plain, err := json.Marshal(envelope{make([]byte, nonceSize), []byte(response.Plaintext), make([]byte, tagSize)})
	require.NoError(f, err)
	for _, timestamp := range []string{response.Timestamp, s.Request.Timestamp, "", "-1"} {
		for _, body := range [][]byte{response.body(), s.Request.body(), plain, []byte(`{}`), []byte(`{"iv":"AAAA"}`), []byte(`null`), nil} {
			f.Add(timestamp, s.AppID, response.Serial, response.Signature, body)
			f.Add(timestamp, s.AppID, response.Serial, response.SignatureDeprecated, body)
		}
	}
	f.Fuzz(func(t *testing.T, timestamp, appID, serial, signature string, body []byte) {
		message := sampleMessage{Timestamp: timestamp, Serial: serial, Signature: signature, SerialDeprecated: serial, SignatureDeprecated: signature}
		a := &answer{now, s.AppID, s.URLPath, message.header(appID), body}
		for _, scheme := range []*Scheme{strict, unsigned, transparent} {
			scheme.seen = newSeen(maxSeen)
			plaintext, err := a.open(scheme)
			switch {
			case err != nil:
				require.ErrorIs(t, err, ErrFailed)
				require.Nil(t, plaintext)
			case scheme == transparent:
				_, ok := boundTo(plaintext, origin{s.URLPath, appID, timestamp})
				require.True(t, ok)
				require.Equal(t, s.AppID, appID)
			default:
				require.Contains(t, published[scheme], string(plaintext))
			}
			if err == nil && scheme == strict {
				require.Equal(t, response.body(), body)
				require.Equal(t, response.Timestamp, timestamp)
			}
		}
	})
}
