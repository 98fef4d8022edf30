package wxphone_test

import (
	"bytes"
	"crypto/aes"
	"errors"
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
)

var legacySentinels = []error{
	wxphone.ErrSystemBusy, wxphone.ErrCodeInvalid, wxphone.ErrCodeUsed, wxphone.ErrAccessToken,
	wxphone.ErrAppIDMismatch, wxphone.ErrSecretInvalid, wxphone.ErrIPNotAllowed, wxphone.ErrUserBlocked,
	wxphone.ErrRateLimited, wxphone.ErrQuotaExhausted, wxphone.ErrUnauthorized, wxphone.ErrSessionExpired,
	wxphone.ErrAPISecurity, wxphone.ErrInvalidArgument, wxphone.ErrDecrypt, wxphone.ErrWatermark,
	wxphone.ErrWatermarkExpired, wxphone.ErrNoPhoneNumber, wxphone.ErrTokenNotFound,
}

// describeError tells all that a caller could pass on about err.
func describeError(err error) string {
	var b strings.Builder
	fmt.Fprintf(&b, "status %d\n", wxphone.HTTPStatus(err))
	for i, sentinel := range legacySentinels {
		fmt.Fprintf(&b, "is %d: %t\n", i, errors.Is(err, sentinel))
	}
	var describe func(error)
	describe = func(err error) {
		fmt.Fprintf(&b, "%p %T %q %+v\n", err, err, err, err)
		switch wrapper := err.(type) { //nolint:errorlint // this is the walk
		case interface{ Unwrap() error }:
			describe(wrapper.Unwrap())
		case interface{ Unwrap() []error }:
			for _, inner := range wrapper.Unwrap() {
				describe(inner)
			}
		}
	}
	describe(err)
	return b.String()
}

// badBlocks are plaintexts with padding of one length, all wrong in another
// way. Encrypted, they all have the same length too.
func badBlocks() map[string][]byte {
	good := padPKCS7([]byte(legacyPayload("13800000000", "13800000000", "86")))
	change := func(old, with string) []byte { return bytes.Replace(bytes.Clone(good), []byte(old), []byte(with), 1) }
	at := func(i int, c byte) []byte {
		b := bytes.Clone(good)
		if i < 0 {
			i += len(b)
		}
		b[i] = c
		return b
	}
	return map[string][]byte{
		"padding byte 0":          at(-1, 0),
		"padding byte 17":         at(-1, 17),
		"padding byte 255":        at(-1, 255),
		"padding too short":       at(-1, 1),
		"first padding byte":      at(-14, 0),
		"padding before the last": at(-2, 0),
		"garbage at the start":    at(0, 'x'),
		"garbage in the middle":   at(80, 0x80),
		"garbage at the end":      at(145, 'x'),
		"trailing garbage":        append(at(-1, 1)[:159:159], 1),
		"missing number":          change("phoneNumber", "phoneNumbex"),
		"other case":              change("phoneNumber", "PhoneNumber"),
		"no digits":               change("13800000000", "+++++++++++"),
		"numbers that disagree":   change("13800000000", "13800000001"),
		"wrong appid":             change(legacyAppID, "wx0123456789abcdeF"),
		"duplicate":               change("countryCode", "phoneNumber"),
	}
}

func TestAllFailuresLookTheSame(t *testing.T) {
	t.Parallel()
	key := wxphone.SessionKey(encode64(legacyKey))
	iv := encode64(legacyIV)
	text := legacyPayload("13800000000", "13800000000", "86")
	data := encode64(encryptBlocks(t, padPKCS7([]byte(text))))
	type call struct {
		appID    string
		key      wxphone.SessionKey
		data, iv string
	}
	calls := map[string]call{
		"wrong appID":         {"wx-another", key, data, iv},
		"data not base64":     {legacyAppID, key, "%" + data[1:], iv},
		"data empty":          {legacyAppID, key, "", iv},
		"data of 15 bytes":    {legacyAppID, key, data[:20], iv},
		"data of one block":   {legacyAppID, key, encode64(decode64(t, data)[:16]), iv},
		"data cut by a block": {legacyAppID, key, encode64(decode64(t, data)[:144]), iv},
		"data oversized":      {legacyAppID, key, strings.Repeat("A", 1<<20), iv},
		"iv not base64":       {legacyAppID, key, data, "%" + iv[1:]},
		"iv empty":            {legacyAppID, key, data, ""},
		"iv of 15 bytes":      {legacyAppID, key, data, encode64(legacyIV[:15])},
		"iv of 17 bytes":      {legacyAppID, key, data, encode64(append(legacyIV[:16:16], 1))},
		"iv of another tap":   {legacyAppID, key, data, encode64(make([]byte, 16))},
		"key empty":           {legacyAppID, "", data, iv},
		"key not base64":      {legacyAppID, "%" + key[1:], data, iv},
		"key of 32 bytes":     {legacyAppID, wxphone.SessionKey(encode64(make([]byte, 32))), data, iv},
		"key of another user": {legacyAppID, wxphone.SessionKey(encode64(make([]byte, 16))), data, iv},
	}
	for name, blocks := range badBlocks() {
		calls[name] = call{legacyAppID, key, encode64(encryptBlocks(t, blocks)), iv}
	}
	want := ""
	for name, c := range calls {
		_, err := wxphone.DecryptPhoneNumber(c.appID, c.key, c.data, c.iv)
		require.ErrorIs(t, err, wxphone.ErrDecrypt, name)
		if want == "" {
			want = describeError(err)
		}
		require.Equal(t, want, describeError(err), name)
		// What only a phone number must satisfy may pass here.
		if err = wxphone.DecryptData(c.appID, c.key, c.data, c.iv, new(any)); err != nil {
			require.Equal(t, want, describeError(err), name)
		}
	}
	err := wxphone.DecryptData(legacyAppID, key, data, iv, new(int))
	require.Equal(t, want, describeError(err), "a payload that does not fit")
}

func TestErrorNamesTheUsualCauseInOneLine(t *testing.T) {
	t.Parallel()
	_, err := openBlocks(nil)
	require.ErrorContains(t, err, "wx.login")
	require.ErrorContains(t, err, "session_key")
	require.NotContains(t, err.Error(), "\n")
}

// Allocations are the part of the work that can be counted exactly.
func TestBadPaddingAllocatesLikeBadJSON(t *testing.T) {
	key, iv := wxphone.SessionKey(encode64(legacyKey)), encode64(legacyIV)
	want := -1.0
	for name, blocks := range badBlocks() {
		data := encode64(encryptBlocks(t, blocks))
		got := testing.AllocsPerRun(20, func() {
			_, _ = wxphone.DecryptPhoneNumber(legacyAppID, key, data, iv)
		})
		if want < 0 {
			want = got
		}
		require.InDelta(t, want, got, 0, name)
	}
}

// leaky is the decryptor that this package must not be: it tells bad padding
// from bad JSON.
func leaky(ciphertext []byte) string {
	plaintext := decryptBlocks(ciphertext)
	if n := int(plaintext[len(plaintext)-1]); n == 0 || n > 16 ||
		!bytes.Equal(plaintext[len(plaintext)-n:], bytes.Repeat([]byte{byte(n)}, n)) {
		return "bad padding"
	}
	return "bad JSON"
}

// vaudenay decrypts one block by what the oracle says about ciphertexts it
// makes up, or gives up when all of them sound the same.
func vaudenay(oracle func(ciphertext []byte) string, rng *rand.Rand, target []byte) (intermediate []byte, ok bool) {
	known := make([]byte, aes.BlockSize) // the block under the bare cipher, from the end
	for i := aes.BlockSize - 1; i >= 0; i-- {
		padding := byte(aes.BlockSize - i)
		answers := map[string][]int{}
		forged := make([]byte, aes.BlockSize)
		rng.Read(forged)
		for j := i + 1; j < aes.BlockSize; j++ {
			forged[j] = known[j] ^ padding
		}
		for guess := 0; guess < 256; guess++ {
			forged[i] = byte(guess)
			said := oracle(append(bytes.Clone(forged), target...))
			answers[said] = append(answers[said], guess)
		}
		found := -1
		for _, guesses := range answers {
			if len(answers) == 2 && len(guesses) == 1 {
				found = guesses[0]
			}
		}
		if found < 0 {
			return nil, false
		}
		known[i] = byte(found) ^ padding
	}
	return known, true
}

func TestPaddingOracleAttackGetsNowhere(t *testing.T) {
	t.Parallel()
	secret := padPKCS7([]byte(legacyPayload("13800000000", "13800000000", "86")))
	ciphertext := encryptBlocks(t, secret)
	target := ciphertext[16:32]

	stolen, ok := vaudenay(leaky, rand.New(rand.NewSource(2)), target)
	require.True(t, ok, "the attack itself must work")
	for i := range stolen {
		require.Equal(t, secret[16+i], stolen[i]^ciphertext[i])
	}

	phone := func(ciphertext []byte) string {
		_, err := openBlocks(ciphertext)
		return describeError(err)
	}
	_, ok = vaudenay(phone, rand.New(rand.NewSource(2)), target)
	require.False(t, ok)
	data := func(ciphertext []byte) string {
		return describeError(wxphone.DecryptData(legacyAppID, wxphone.SessionKey(encode64(legacyKey)),
			encode64(ciphertext), encode64(legacyIV), new(any)))
	}
	_, ok = vaudenay(data, rand.New(rand.NewSource(2)), target)
	require.False(t, ok)
}

// The attack again with an intact payload in front, so that nothing but the
// last two blocks can be what failed.
func TestPaddingOracleAttackBehindAPayloadGetsNowhere(t *testing.T) {
	t.Parallel()
	text := legacyPayload("13800000000", "13800000000", "86")
	text += strings.Repeat(" ", aes.BlockSize-len(text)%aes.BlockSize)
	ciphertext := encryptBlocks(t, padPKCS7([]byte(text)))
	intact := ciphertext[:len(text)]
	target := ciphertext[16:32]
	_, ok := vaudenay(func(forged []byte) string {
		_, err := openBlocks(append(bytes.Clone(intact), forged...))
		return describeError(err)
	}, rand.New(rand.NewSource(3)), target)
	require.False(t, ok)
}
