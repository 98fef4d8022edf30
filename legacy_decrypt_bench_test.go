package wxphone_test

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/wxphone/wxphone"
)

func BenchmarkDecryptPhoneNumber(b *testing.B) {
	v := readLegacyVectors(b, "testdata/vectors.json")[0]
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		if _, err := wxphone.DecryptPhoneNumber(legacyAppID, v.SessionKey, v.EncryptedData, v.IV); err != nil {
			b.Fatal(err)
		}
	}
}

// decryptPlainly is what one writes without this package, without any check
// that is not needed to get at the number.
func decryptPlainly(sessionKey, encryptedData, iv string) (*plainPhone, error) {
	key, err := base64.StdEncoding.DecodeString(sessionKey)
	if err != nil {
		return nil, err
	}
	ivBytes, err := base64.StdEncoding.DecodeString(iv)
	if err != nil {
		return nil, err
	}
	data, err := base64.StdEncoding.DecodeString(encryptedData)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	cipher.NewCBCDecrypter(block, ivBytes).CryptBlocks(data, data)
	var p plainPhone
	if err := json.Unmarshal(data[:len(data)-int(data[len(data)-1])], &p); err != nil {
		return nil, err
	}
	if p.Watermark.AppID != legacyAppID {
		return nil, errors.New("another appid")
	}
	return &p, nil
}

type plainPhone struct {
	PhoneNumber     string `json:"phoneNumber"`
	PurePhoneNumber string `json:"purePhoneNumber"`
	CountryCode     string `json:"countryCode"`
	Watermark       struct {
		AppID     string `json:"appid"`
		Timestamp int64  `json:"timestamp"`
	} `json:"watermark"`
}

func BenchmarkDecryptPhoneNumberBaseline(b *testing.B) {
	v := readLegacyVectors(b, "testdata/vectors.json")[0]
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		if _, err := decryptPlainly(string(v.SessionKey), v.EncryptedData, v.IV); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBadPadding(b *testing.B) { benchmarkFailure(b, "first padding byte") }

func BenchmarkGoodPaddingBadJSON(b *testing.B) { benchmarkFailure(b, "garbage at the end") }

func benchmarkFailure(b *testing.B, name string) {
	b.Helper()
	key, iv := wxphone.SessionKey(encode64(legacyKey)), encode64(legacyIV)
	data := encode64(encryptBlocks(b, badBlocks()[name]))
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		if _, err := wxphone.DecryptPhoneNumber(legacyAppID, key, data, iv); err == nil {
			b.Fatal("no failure")
		}
	}
}

// BenchmarkFailureMedians times many causes of failure in turns, so that what
// else the machine does hits them alike, and reports the median of each in
// nanoseconds and the spread between the fastest and the slowest in per cent.
func BenchmarkFailureMedians(b *testing.B) {
	key, iv := wxphone.SessionKey(encode64(legacyKey)), encode64(legacyIV)
	causes := []struct{ name, unit string }{
		{"first padding byte", "bad-padding-ns"},
		{"padding byte 0", "padding-byte-0-ns"},
		{"garbage at the start", "bad-JSON-start-ns"},
		{"garbage in the middle", "bad-JSON-middle-ns"},
		{"garbage at the end", "bad-JSON-end-ns"},
		{"wrong appid", "wrong-appid-ns"},
		{"missing number", "no-number-ns"},
	}
	const calls = 50
	blocks := badBlocks()
	data := make([]string, len(causes))
	samples := make([][]float64, len(causes))
	for i, cause := range causes {
		data[i] = encode64(encryptBlocks(b, blocks[cause.name]))
	}
	b.ResetTimer()
	for n := 0; n < b.N; n++ {
		for i := range causes {
			start := time.Now()
			for c := 0; c < calls; c++ {
				_, _ = wxphone.DecryptPhoneNumber(legacyAppID, key, data[i], iv)
			}
			samples[i] = append(samples[i], float64(time.Since(start).Nanoseconds())/calls)
		}
	}
	b.StopTimer()
	medians := make([]float64, len(causes))
	for i, cause := range causes {
		slices.Sort(samples[i])
		medians[i] = samples[i][len(samples[i])/2]
		b.ReportMetric(medians[i], cause.unit)
	}
	b.ReportMetric(100*(slices.Max(medians)/slices.Min(medians)-1), "spread-%")
	b.ReportMetric(0, "ns/op")
}
