package payload

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
)

// decodeAsStandard is [DecodeBase64] with encoding/base64.
func decodeAsStandard(text string) ([]byte, bool) {
	data, err := base64.StdEncoding.Strict().DecodeString(text)
	return data, err == nil && !strings.ContainsAny(text, "\r\n")
}

func compareBase64(t *testing.T, text string) {
	t.Helper()
	want, ok := decodeAsStandard(text)
	got := DecodeBase64(make([]byte, base64.StdEncoding.DecodedLen(len(text))), text)
	if (got != nil) != ok || ok && !bytes.Equal(got, want) {
		t.Errorf("%q is %x, want %x, %t", text, got, want, ok)
	}
}

func TestBase64IsReadAsTheStandardLibraryReadsItStrictly(t *testing.T) {
	t.Parallel()
	const text = "AZaz09+/"
	for length := 0; length <= len(text); length++ {
		for padding := 0; padding <= 3; padding++ {
			compareBase64(t, text[:length]+strings.Repeat("=", padding))
		}
	}
	// Every byte in every place, also where bits belong to no byte.
	for _, pattern := range []string{"AAAAAAAA", "AAAAAAA=", "AAAAAA=="} {
		for at := range pattern {
			for c := range 256 {
				compareBase64(t, pattern[:at]+string([]byte{byte(c)})+pattern[at+1:])
			}
		}
	}
	for _, text := range []string{"QUJD\nREVG", "QUJD\r\nREVG", "====", "Q===", "=QUJ", "QU=D", "QUI=QUI=", "QUJDQUI=\n"} {
		compareBase64(t, text)
	}
}

func FuzzDecodeBase64(f *testing.F) {
	for _, text := range []string{"", "QUJD", "QUI=", "QQ==", "QUJDREVG", "QR==", "QUJ=", "q83vASNFZ4mrze8BI0VniQ=="} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		compareBase64(t, text)
		compareBase64(t, base64.StdEncoding.EncodeToString([]byte(text)))
	})
}
