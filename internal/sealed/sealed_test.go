package sealed

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	require.NoError(t, err)
	return b
}

// The vectors of RFC 5869, appendix A, for SHA-256.
func TestHKDFIsThatOfTheRFC(t *testing.T) {
	t.Parallel()
	counting := func(first byte, n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = first + byte(i)
		}
		return hex.EncodeToString(b)
	}
	for name, tt := range map[string]struct{ secret, salt, info, prk, okm string }{
		"A.1": {
			strings.Repeat("0b", 22), counting(0, 13), "f0f1f2f3f4f5f6f7f8f9",
			"077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
			"3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
		},
		"A.2": {
			counting(0, 80), counting(0x60, 80), counting(0xb0, 80),
			"06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
			"b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09" +
				"da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
		},
		"A.3": {
			strings.Repeat("0b", 22), "", "",
			"19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
			"8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			prk := extract(unhex(t, tt.salt), unhex(t, tt.secret))
			assert.Equal(t, tt.prk, hex.EncodeToString(prk))
			okm := expand(prk, unhex(t, tt.info), len(tt.okm)/2)
			assert.Equal(t, tt.okm, hex.EncodeToString(okm))
		})
	}
}

const (
	appID = "wx0123456789abcdef"
	code  = "e31968a7f94cc5ee25fafc2aef2773f0bb8c3937b22520eb8ee345274d00c144"
)

func TestSealedValueIsOpenedByWhoHasTheCode(t *testing.T) {
	t.Parallel()
	value, err := NewBox(appID, "o1", code).Seal([]byte("13800000000"))
	require.NoError(t, err)
	plaintext, ok := NewBox(appID, "o1", code).Open(value)
	require.True(t, ok)
	assert.Equal(t, "13800000000", string(plaintext))
}

// Processes of an older version share the store while a newer one is rolled out.
func TestNameAndFormatAreThoseOfOlderVersions(t *testing.T) {
	t.Parallel()
	box := NewBox(appID, "o1", code)
	assert.Equal(t, "wxphone:duplicate:wx0123456789abcdef:5e8dc3d1a2e863ec897133447c2c1eb4ef17d5541da8fdc3ec8641ecc66a8412", box.Name)
	plaintext, ok := box.Open(unhex(t, "0118b9aa522b66e4103e3e5c49c914efc84d967d01752ebbd5a4c721c951a8fbc076b1b6ab7f18be"))
	require.True(t, ok)
	assert.Equal(t, "13800000000", string(plaintext))
}

func TestSealedValueAndItsNameTellNothing(t *testing.T) {
	t.Parallel()
	box := NewBox(appID, "o1", code)
	one, err := box.Seal([]byte("13800000000"))
	require.NoError(t, err)
	other, err := box.Seal([]byte("13800000000"))
	require.NoError(t, err)
	assert.NotEqual(t, one, other, "no two are alike")
	for _, secret := range []string{"13800000000", code, code[:16], "o1"} {
		assert.NotContains(t, string(one), secret)
		assert.NotContains(t, box.Name, secret)
	}
	assert.NotContains(t, box.Name, hex.EncodeToString(box.key))
}

func TestBoxesAreApart(t *testing.T) {
	t.Parallel()
	boxes := []*Box{
		NewBox(appID, "o1", code), NewBox(appID, "o2", code), NewBox(appID, "", code), NewBox("wx1", "o1", code),
		NewBox(appID, "o1", code[1:]), NewBox(appID+"o", "1", code), NewBox(appID+"\x02", "o1", code),
	}
	for i, box := range boxes {
		value, err := box.Seal([]byte("text"))
		require.NoError(t, err)
		for j, other := range boxes {
			_, ok := other.Open(value)
			assert.Equal(t, i == j, ok, "%d opened %d's", j, i)
			assert.Equal(t, i == j, other.Name == box.Name)
		}
	}
}

// A value that was put under another name with the right key does not pass.
func TestSealedValueIsBoundToItsName(t *testing.T) {
	t.Parallel()
	box := NewBox(appID, "o1", code)
	moved := &Box{Name: box.Name + "2", key: box.key, bound: appendText([]byte{version}, box.Name+"2")}
	value, err := moved.Seal([]byte("text"))
	require.NoError(t, err)
	_, ok := box.Open(value)
	assert.False(t, ok)
}

func TestGarbageIsNotOpened(t *testing.T) {
	t.Parallel()
	box := NewBox(appID, "", code)
	value, err := box.Seal([]byte("text"))
	require.NoError(t, err)
	for i := range value {
		_, ok := box.Open(value[:i])
		assert.False(t, ok, "the first %d bytes", i)
		altered := bytes.Clone(value)
		altered[i] ^= 1
		_, ok = box.Open(altered)
		assert.False(t, ok, "with byte %d altered", i)
	}
	_, ok := box.Open(append(bytes.Clone(value), 0))
	assert.False(t, ok, "with a byte more")
}
