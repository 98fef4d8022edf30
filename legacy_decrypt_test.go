package wxphone_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
)

const legacyAppID = "wx0123456789abcdef"

var (
	legacyKey = []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	legacyIV  = []byte("0123456789abcdef")
)

type legacyVector struct {
	Name          string             `json:"name"`
	AppID         string             `json:"app_id"`
	SessionKey    wxphone.SessionKey `json:"session_key"`
	IV            string             `json:"iv"`
	EncryptedData string             `json:"encrypted_data"`
	Plaintext     string             `json:"plaintext"`
}

// readLegacyVectors decodes a file of testdata, a list or a single vector.
func readLegacyVectors(tb testing.TB, path string) []legacyVector {
	tb.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(tb, err)
	if !bytes.HasPrefix(raw, []byte("[")) {
		raw = append(append([]byte("["), raw...), ']')
	}
	var vectors []legacyVector
	require.NoError(tb, json.Unmarshal(raw, &vectors))
	require.NotEmpty(tb, vectors)
	return vectors
}

func encode64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func decode64(tb testing.TB, text string) []byte {
	tb.Helper()
	b, err := base64.StdEncoding.DecodeString(text)
	require.NoError(tb, err)
	return b
}

func padPKCS7(plaintext []byte) []byte {
	n := aes.BlockSize - len(plaintext)%aes.BlockSize
	return append(bytes.Clone(plaintext), bytes.Repeat([]byte{byte(n)}, n)...)
}

// encryptBlocks encrypts whole blocks under legacyKey and legacyIV, so that a
// test chooses the padding too.
func encryptBlocks(tb testing.TB, blocks []byte) []byte {
	tb.Helper()
	return encryptUnder(tb, legacyKey, blocks)
}

func encryptUnder(tb testing.TB, key, blocks []byte) []byte {
	tb.Helper()
	block, err := aes.NewCipher(key)
	require.NoError(tb, err)
	ciphertext := make([]byte, len(blocks))
	cipher.NewCBCEncrypter(block, legacyIV).CryptBlocks(ciphertext, blocks)
	return ciphertext
}

// openBlocks hands a ciphertext under legacyKey and legacyIV to the decryptor.
func openBlocks(ciphertext []byte) (*wxphone.PhoneInfo, error) {
	return wxphone.DecryptPhoneNumber(legacyAppID, wxphone.SessionKey(encode64(legacyKey)), encode64(ciphertext), encode64(legacyIV))
}

func openText(tb testing.TB, plaintext string) (*wxphone.PhoneInfo, error) {
	tb.Helper()
	return openBlocks(encryptBlocks(tb, padPKCS7([]byte(plaintext))))
}

func legacyPayload(number, pure, country string) string {
	return fmt.Sprintf(`{"phoneNumber":%q,"purePhoneNumber":%q,"countryCode":%q,"watermark":{"timestamp":1700000000,"appid":%q}}`,
		number, pure, country, legacyAppID)
}

func TestVectorsDecrypt(t *testing.T) {
	t.Parallel()
	for _, v := range readLegacyVectors(t, "testdata/vectors.json") {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			var want wxphone.PhoneInfo
			require.NoError(t, json.Unmarshal([]byte(v.Plaintext), &want))
			require.NotEmpty(t, want.PhoneNumber)

			got, err := wxphone.DecryptPhoneNumber(legacyAppID, v.SessionKey, v.EncryptedData, v.IV)
			require.NoError(t, err)
			require.Equal(t, want, *got)
			require.EqualValues(t, 1700000000, got.Watermark.Timestamp)

			var data map[string]any
			require.NoError(t, wxphone.DecryptData(legacyAppID, v.SessionKey, v.EncryptedData, v.IV, &data))
			require.Equal(t, want.PurePhoneNumber, data["purePhoneNumber"])

			_, err = wxphone.DecryptPhoneNumber("wx-another", v.SessionKey, v.EncryptedData, v.IV)
			require.ErrorIs(t, err, wxphone.ErrDecrypt)
			require.ErrorIs(t, wxphone.DecryptData("wx-another", v.SessionKey, v.EncryptedData, v.IV, &data), wxphone.ErrDecrypt)
		})
	}
}

func TestOfficialDemoDecryptsAsData(t *testing.T) {
	t.Parallel()
	v := readLegacyVectors(t, "testdata/vector_demo.json")[0]
	var got, want any
	require.NoError(t, wxphone.DecryptData(v.AppID, v.SessionKey, v.EncryptedData, v.IV, &got))
	require.NoError(t, json.Unmarshal([]byte(v.Plaintext), &want))
	require.Equal(t, want, got)

	_, err := wxphone.DecryptPhoneNumber(v.AppID, v.SessionKey, v.EncryptedData, v.IV)
	require.ErrorIs(t, err, wxphone.ErrDecrypt, "it holds no phone number")
}

func TestNegativeVectorsFail(t *testing.T) {
	t.Parallel()
	for _, v := range readLegacyVectors(t, "testdata/vectors_negative.json") {
		_, err := wxphone.DecryptPhoneNumber(legacyAppID, v.SessionKey, v.EncryptedData, v.IV)
		require.ErrorIs(t, err, wxphone.ErrDecrypt, v.Name)
		require.ErrorIs(t, wxphone.DecryptData(legacyAppID, v.SessionKey, v.EncryptedData, v.IV, new(any)), wxphone.ErrDecrypt, v.Name)
	}
}

// A flipped bit garbles a block or alters another; either is noticed, or hits
// what nobody reads, but never makes another number.
func TestFlippedBitNeverMakesAnotherNumber(t *testing.T) {
	t.Parallel()
	for _, v := range readLegacyVectors(t, "testdata/vectors.json") {
		good, err := wxphone.DecryptPhoneNumber(legacyAppID, v.SessionKey, v.EncryptedData, v.IV)
		require.NoError(t, err)
		key, iv, data := decode64(t, string(v.SessionKey)), decode64(t, v.IV), decode64(t, v.EncryptedData)
		flip := func(what string, b []byte, mayPass bool) {
			for bit := 0; bit < 8*len(b); bit++ {
				b[bit/8] ^= 1 << (bit % 8)
				got, err := wxphone.DecryptPhoneNumber(legacyAppID, wxphone.SessionKey(encode64(key)), encode64(data), encode64(iv))
				b[bit/8] ^= 1 << (bit % 8)
				if mayPass && err == nil {
					require.Equal(t, good.PhoneNumber, got.PhoneNumber, "%s: bit %d of %s", v.Name, bit, what)
					require.Equal(t, good.PurePhoneNumber, got.PurePhoneNumber)
					continue
				}
				require.ErrorIs(t, err, wxphone.ErrDecrypt, "%s: bit %d of %s", v.Name, bit, what)
			}
		}
		flip("ciphertext", data, true)
		// The iv alters exactly {"phoneNumber":" and the key everything.
		flip("iv", iv, false)
		flip("key", key, false)
	}
}

func TestFlippedBase64NeverMakesAnotherNumber(t *testing.T) {
	t.Parallel()
	v := readLegacyVectors(t, "testdata/vectors.json")[0]
	texts := []string{string(v.SessionKey), v.EncryptedData, v.IV}
	for which := range texts {
		for i := range texts[which] {
			for bit := 0; bit < 8; bit++ {
				changed := append([]string(nil), texts...)
				b := []byte(changed[which])
				b[i] ^= 1 << bit
				changed[which] = string(b)
				_, err := wxphone.DecryptPhoneNumber(legacyAppID, wxphone.SessionKey(changed[0]), changed[1], changed[2])
				require.ErrorIs(t, err, wxphone.ErrDecrypt, "argument %d, byte %d, bit %d", which, i, bit)
			}
		}
	}
}

func TestSpacesAreReadAsPlus(t *testing.T) {
	t.Parallel()
	for _, v := range readLegacyVectors(t, "testdata/vectors.json") {
		require.Contains(t, v.EncryptedData, "+")
		data := strings.ReplaceAll(v.EncryptedData, "+", " ")
		_, err := wxphone.DecryptPhoneNumber(legacyAppID, v.SessionKey, data, v.IV)
		require.NoError(t, err, v.Name)
	}
	iv := append([]byte{0xfb, 0xef, 0xbe}, legacyIV[3:]...) // "++++" in base64
	block, err := aes.NewCipher(legacyKey)
	require.NoError(t, err)
	data := padPKCS7([]byte(legacyPayload("13800000000", "13800000000", "86")))
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(data, data)
	spaced := strings.ReplaceAll(encode64(iv), "+", " ")
	require.Contains(t, spaced, "    ")
	_, err = wxphone.DecryptPhoneNumber(legacyAppID, wxphone.SessionKey(encode64(legacyKey)), encode64(data), spaced)
	require.NoError(t, err)
}

func TestEveryLengthOfPaddingDecrypts(t *testing.T) {
	t.Parallel()
	for spaces := 0; spaces < 2*aes.BlockSize; spaces++ {
		_, err := openText(t, legacyPayload("13800000000", "13800000000", "86")+strings.Repeat(" ", spaces))
		require.NoError(t, err, "%d spaces", spaces)
	}
}

func TestFormsOfNumbers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		number, pure, country string
		ok                    bool
	}{
		{"13800000000", "13800000000", "86", true},
		{"+8613800000000", "13800000000", "86", true},
		{"+86 138-0000-0000", "13800000000", "+86", true},
		{"+1 (206) 660-0001", "12066600001", "1", true},
		{"51234567", "+85251234567", "852", false},
		{"13800000000", "13800000001", "86", false},
		{"", "", "86", false},
		{"13800000000", "", "86", false},
		{"13800000000", "13800000000", "", false},
		{"13800000000", "+", "86", false},
		{"138000000O0", "138000000O0", "86", false},
		{"13800000000", "13800000000", "CN", false},
		{"１３８", "１３８", "86", false},
	} {
		got, err := openText(t, legacyPayload(c.number, c.pure, c.country))
		if !c.ok {
			require.ErrorIs(t, err, wxphone.ErrDecrypt, "%+v", c)
			continue
		}
		require.NoError(t, err, "%+v", c)
		require.Equal(t, []string{c.number, c.pure, c.country}, []string{got.PhoneNumber, got.PurePhoneNumber, got.CountryCode})
	}
}

func TestOnlyCanonicalBase64IsTaken(t *testing.T) {
	t.Parallel()
	v := readLegacyVectors(t, "testdata/vectors.json")[0]
	for name, change := range map[string]func(string) string{
		"line break":     func(s string) string { return s[:8] + "\r\n" + s[8:] },
		"no padding":     func(s string) string { return strings.TrimRight(s, "=") },
		"more padding":   func(s string) string { return s + "=" },
		"trailing bits":  func(s string) string { return s[:len(s)-3] + "B==" },
		"url alphabet":   func(s string) string { return "-_" + s[2:] },
		"trailing space": func(s string) string { return s + " " },
		"empty":          func(string) string { return "" },
	} {
		for i := 0; i < 3; i++ {
			args := []string{string(v.SessionKey), v.EncryptedData, v.IV}
			args[i] = change(args[i])
			_, err := wxphone.DecryptPhoneNumber(legacyAppID, wxphone.SessionKey(args[0]), args[1], args[2])
			require.ErrorIs(t, err, wxphone.ErrDecrypt, "%s in argument %d", name, i)
		}
	}
}

func TestOversizedDataIsRefused(t *testing.T) {
	t.Parallel()
	text := legacyPayload("13800000000", "13800000000", "86")
	_, err := openText(t, text+strings.Repeat(" ", 48000-len(text)))
	require.NoError(t, err)
	_, err = openText(t, text+strings.Repeat(" ", 49152-len(text)))
	require.ErrorIs(t, err, wxphone.ErrDecrypt)
}

func TestProgrammersMistakesAreInvalidArguments(t *testing.T) {
	t.Parallel()
	v := readLegacyVectors(t, "testdata/vectors.json")[0]
	_, err := wxphone.DecryptPhoneNumber("", v.SessionKey, v.EncryptedData, v.IV)
	require.ErrorIs(t, err, wxphone.ErrInvalidArgument)
	require.ErrorContains(t, err, "appID")
	err = wxphone.DecryptData("", v.SessionKey, v.EncryptedData, v.IV, new(any))
	require.ErrorIs(t, err, wxphone.ErrInvalidArgument)
	require.ErrorContains(t, err, "appID")
	for _, target := range []any{nil, (*wxphone.PhoneInfo)(nil), wxphone.PhoneInfo{}, map[string]any{}, 1, func() {}} {
		err = wxphone.DecryptData(legacyAppID, v.SessionKey, v.EncryptedData, v.IV, target)
		require.ErrorIs(t, err, wxphone.ErrInvalidArgument, "%T", target)
		require.NotErrorIs(t, err, wxphone.ErrDecrypt)
	}
}

func TestDataTargetIsUntouchedOnFailure(t *testing.T) {
	t.Parallel()
	type target struct {
		PhoneNumber string
		CountryCode int
	}
	v := readLegacyVectors(t, "testdata/vectors.json")[0] // its countryCode is a string
	got := target{"before", 1}
	err := wxphone.DecryptData(legacyAppID, v.SessionKey, v.EncryptedData, v.IV, &got)
	require.ErrorIs(t, err, wxphone.ErrDecrypt)
	require.Equal(t, target{"before", 1}, got)

	kept := map[string]any{"before": true}
	blocks := padPKCS7([]byte(legacyPayload("13800000000", "13800000000", "86")))
	blocks[len(blocks)-2] ^= 1
	err = wxphone.DecryptData(legacyAppID, wxphone.SessionKey(encode64(legacyKey)), encode64(encryptBlocks(t, blocks)), encode64(legacyIV), &kept)
	require.ErrorIs(t, err, wxphone.ErrDecrypt)
	require.Equal(t, map[string]any{"before": true}, kept)
}

func TestDataIsDecodedAfresh(t *testing.T) {
	t.Parallel()
	v := readLegacyVectors(t, "testdata/vectors.json")[0]
	got := map[string]any{"before": true}
	require.NoError(t, wxphone.DecryptData(legacyAppID, v.SessionKey, v.EncryptedData, v.IV, &got))
	require.NotContains(t, got, "before")
	require.Contains(t, got, "phoneNumber")
}

// keeper keeps the very bytes that it is given, which encoding/json forbids.
type keeper struct{ kept []byte }

func (k *keeper) UnmarshalJSON(b []byte) error {
	k.kept = b
	return nil
}

func TestNextDecryptionDoesNotChangeWhatTheLastOneReturned(t *testing.T) {
	t.Parallel()
	key, iv := wxphone.SessionKey(encode64(legacyKey)), encode64(legacyIV)
	for _, note := range []string{"x", strings.Repeat("long", 1000)} {
		var kept []keeper
		var phones []*wxphone.PhoneInfo
		for i := range 20 {
			text := strings.Replace(legacyPayload(fmt.Sprint(13800000000+i), fmt.Sprint(13800000000+i), "86"), "{", `{"note":"`+note+`",`, 1)
			data := encode64(encryptBlocks(t, padPKCS7([]byte(text))))
			var v keeper
			require.NoError(t, wxphone.DecryptData(legacyAppID, key, data, iv, &v))
			kept = append(kept, v)
			phone, err := wxphone.DecryptPhoneNumber(legacyAppID, key, data, iv)
			require.NoError(t, err)
			phones = append(phones, phone)
		}
		for i := range kept {
			require.Contains(t, string(kept[i].kept), fmt.Sprint(13800000000+i))
			require.Equal(t, fmt.Sprint(13800000000+i), phones[i].PhoneNumber)
		}
	}
}

func TestKeyAndPlaintextAreWipedAfterUse(t *testing.T) {
	t.Parallel()
	// What is longer than usual has memory of its own, which no other test uses.
	text := strings.Replace(legacyPayload("13800000000", "13800000000", "86"), "{", `{"note":"`+strings.Repeat("x", 4000)+`",`, 1)
	data := encode64(encryptBlocks(t, padPKCS7([]byte(text))))
	during, after := wxphone.MemoryOfDecryption(wxphone.SessionKey(encode64(legacyKey)), data, encode64(legacyIV))
	require.Contains(t, string(during), "13800000000")
	require.True(t, bytes.Contains(during, legacyKey))
	require.Empty(t, bytes.Trim(after, "\x00"))
}

// A decryption that did not give its memory back would need as much again, two
// kilobytes, for the next one.
func TestMemoryOfADecryptionIsUsedAgain(t *testing.T) {
	if underRace {
		t.Skip("a sync.Pool forgets at random under the race detector")
	}
	v := readLegacyVectors(t, "testdata/vectors.json")[0]
	client, err := wxphone.New(legacyAppID, someSecret)
	require.NoError(t, err)
	tooShort := v.EncryptedData[:24]
	for name, call := range map[string]func() error{
		"a number": func() error {
			_, err := wxphone.DecryptPhoneNumber(legacyAppID, v.SessionKey, v.EncryptedData, v.IV)
			return err
		},
		"data": func() error {
			return wxphone.DecryptData(legacyAppID, v.SessionKey, v.EncryptedData, v.IV, new(struct{}))
		},
		"a refused number": func() error {
			_, err := wxphone.DecryptPhoneNumber("another", v.SessionKey, v.EncryptedData, v.IV)
			return err
		},
		"refused data": func() error {
			return wxphone.DecryptData("another", v.SessionKey, v.EncryptedData, v.IV, new(struct{}))
		},
		"a number that is not sent": func() error {
			_, err := client.VerifyPhoneNumber(context.Background(), v.SessionKey, tooShort, v.IV)
			return err
		},
	} {
		const calls = 1000
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range calls {
			_ = call()
		}
		runtime.ReadMemStats(&after)
		require.Less(t, (after.TotalAlloc-before.TotalAlloc)/calls, uint64(2000), name)
	}
}

// withFirstBlock returns the iv under which the first block of plaintext, which
// was from under iv, is to. Anybody can do that who knows what it was.
func withFirstBlock(tb testing.TB, iv, from, to string) string {
	tb.Helper()
	require.Len(tb, from, aes.BlockSize)
	require.Len(tb, to, aes.BlockSize)
	changed := decode64(tb, iv)
	for i := range changed {
		changed[i] ^= from[i] ^ to[i]
	}
	return encode64(changed)
}

// DecryptData cannot help that, and its documentation says so.
func TestSenderOfTheIVChoosesTheFirstBlock(t *testing.T) {
	t.Parallel()
	v := readLegacyVectors(t, "testdata/vector_demo.json")[0]
	var got struct{ OpenID string }
	forged := withFirstBlock(t, v.IV, `{"openId":"oGZUI`, `{"openId":"oXXXX`)
	require.NoError(t, wxphone.DecryptData(v.AppID, v.SessionKey, v.EncryptedData, forged, &got))
	require.Equal(t, "oXXXX0egBJY1zhBYw2KhdUfwVJJE", got.OpenID)
}

func TestNicknameBecomesNoPhoneNumber(t *testing.T) {
	t.Parallel()
	key := wxphone.SessionKey(encode64(legacyKey))
	text := `{   "nickName":"13900000000","gender":1,"watermark":{"timestamp":1700000000,"appid":"` + legacyAppID + `"}}`
	data, iv := encode64(encryptBlocks(t, padPKCS7([]byte(text)))), encode64(legacyIV)
	type target struct {
		NickName    string `json:"nickName"`
		PhoneNumber string `json:"phoneNumber"`
	}
	var got target
	require.NoError(t, wxphone.DecryptData(legacyAppID, key, data, iv, &got))
	require.Equal(t, target{NickName: "13900000000"}, got)
	for _, first := range []string{`{"phoneNumber":"`, `{"PhoneNumber":"`, `{"phonenumber":"`, `{"PHONENUMBER":"`, `{"countryCode":"`, `{"countrycode":"`} {
		forged := withFirstBlock(t, iv, text[:aes.BlockSize], first)
		got = target{}
		require.ErrorIs(t, wxphone.DecryptData(legacyAppID, key, data, forged, &got), wxphone.ErrDecrypt, first)
		require.Zero(t, got)
	}
}

// OpenSSL encrypts with code that shares nothing with ours.
func TestOpenSSLCiphertextsDecrypt(t *testing.T) {
	t.Parallel()
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not on PATH: nothing to compare with")
	}
	rng := rand.New(rand.NewSource(1))
	for i := 0; i < 50; i++ {
		key, iv := make([]byte, 16), make([]byte, 16)
		rng.Read(key)
		rng.Read(iv)
		note := make([]rune, rng.Intn(300))
		for j := range note {
			note[j] = rune(rng.Intn(0xD800)) // from controls to Hangul
		}
		pure := fmt.Sprint(1e10 + rng.Int63n(1e10))
		want := map[string]any{
			"phoneNumber": "+86" + pure, "purePhoneNumber": pure, "countryCode": "86", "note": string(note),
			"watermark": map[string]any{"timestamp": float64(rng.Int63n(1 << 40)), "appid": legacyAppID},
		}
		plaintext, err := json.Marshal(want)
		require.NoError(t, err)
		cmd := exec.Command(openssl, "enc", "-aes-128-cbc", "-K", hex.EncodeToString(key), "-iv", hex.EncodeToString(iv))
		cmd.Stdin = bytes.NewReader(plaintext)
		ciphertext, err := cmd.Output()
		require.NoError(t, err)

		sessionKey, data := wxphone.SessionKey(encode64(key)), encode64(ciphertext)
		phone, err := wxphone.DecryptPhoneNumber(legacyAppID, sessionKey, data, encode64(iv))
		require.NoError(t, err)
		require.Equal(t, pure, phone.PurePhoneNumber)
		require.Equal(t, "+86"+pure, phone.PhoneNumber)
		var got map[string]any
		require.NoError(t, wxphone.DecryptData(legacyAppID, sessionKey, data, encode64(iv), &got))
		require.Equal(t, want, got)
	}
}

// decryptBlocks returns the plaintext of a ciphertext under legacyKey and
// legacyIV, padding included.
func decryptBlocks(ciphertext []byte) []byte {
	block, err := aes.NewCipher(legacyKey)
	if err != nil {
		panic(err)
	}
	plaintext := make([]byte, len(ciphertext))
	cipher.NewCBCDecrypter(block, legacyIV).CryptBlocks(plaintext, ciphertext)
	return plaintext
}

// splice inserts one to three random blocks at a block boundary. They decrypt
// to garbage, and so does the block behind them.
func splice(rng *rand.Rand, ciphertext []byte, boundary int) []byte {
	forged := make([]byte, aes.BlockSize*(1+rng.Intn(3)))
	rng.Read(forged)
	return slices.Insert(slices.Clone(ciphertext), boundary, forged...)
}

// readsPlainly reports whether encoding/json finds the number in a ciphertext.
func readsPlainly(ciphertext []byte) bool {
	plaintext := decryptBlocks(ciphertext)
	var p plainPhone
	err := json.Unmarshal(plaintext[:len(plaintext)-int(plaintext[len(plaintext)-1])], &p)
	return err == nil && p.PhoneNumber == "13800000000"
}

func spliceCount() int {
	if testing.Short() || underRace {
		return 10_000
	}
	return 100_000
}

// Whoever may splice garbage where nobody looks learns from each success what
// a block does not decrypt to, and can shift what stands behind it.
func TestGarbageInAnIgnoredStringIsRefused(t *testing.T) {
	t.Parallel()
	text := `{"note":"` + strings.Repeat("x", 200) + `",` + legacyPayload("13800000000", "13800000000", "86")[1:]
	ciphertext := encryptBlocks(t, padPKCS7([]byte(text)))
	_, err := openBlocks(ciphertext)
	require.NoError(t, err)

	rng := rand.New(rand.NewSource(4))
	accepted, plainly := 0, 0
	for i := 0; i < spliceCount(); i++ {
		// The boundary and the block behind it are within the note.
		boundary := aes.BlockSize * (1 + rng.Intn(11))
		forged := splice(rng, ciphertext, boundary)
		if i < 5000 && readsPlainly(forged) {
			plainly++
		}
		got, err := openBlocks(forged)
		if err == nil {
			require.Equal(t, "13800000000", got.PhoneNumber)
			accepted++
		}
	}
	t.Logf("%d of %d spliced messages accepted; of the first 5000, encoding/json takes %d", accepted, spliceCount(), plainly)
	require.Positive(t, plainly, "the messages must be such that a lenient reader takes some")
	require.LessOrEqual(t, accepted, 2)
}

func TestGarbageInAFieldIsRefused(t *testing.T) {
	t.Parallel()
	ciphertext := encryptBlocks(t, padPKCS7([]byte(legacyPayload("13800000000", "13800000000", "86"))))
	rng := rand.New(rand.NewSource(5))
	for i := 0; i < spliceCount()/10; i++ {
		boundary := aes.BlockSize * rng.Intn(len(ciphertext)/aes.BlockSize+1)
		_, err := openBlocks(splice(rng, ciphertext, boundary))
		require.Error(t, err)

		replaced := slices.Clone(ciphertext)
		at := aes.BlockSize * rng.Intn(len(ciphertext)/aes.BlockSize)
		rng.Read(replaced[at : at+aes.BlockSize])
		_, err = openBlocks(replaced)
		require.Error(t, err)
	}
}

// Without new blocks, those of the message itself can be swapped and repeated.
func TestShuffledBlocksAreRefused(t *testing.T) {
	t.Parallel()
	ciphertext := encryptBlocks(t, padPKCS7([]byte(legacyPayload("13800000000", "13800000000", "86"))))
	blocks := len(ciphertext) / aes.BlockSize
	for from := 0; from < blocks; from++ {
		for to := 0; to <= blocks; to++ {
			moved := slices.Insert(slices.Clone(ciphertext), to*aes.BlockSize, ciphertext[from*aes.BlockSize:(from+1)*aes.BlockSize]...)
			_, err := openBlocks(moved)
			require.Error(t, err, "block %d again before %d", from, to)
		}
	}
}

func FuzzDecryptPhoneNumber(f *testing.F) {
	for _, path := range []string{"testdata/vectors.json", "testdata/vectors_negative.json", "testdata/vector_demo.json"} {
		for _, v := range readLegacyVectors(f, path) {
			f.Add(string(v.SessionKey), v.EncryptedData, v.IV)
		}
	}
	f.Add("", "", "")
	f.Fuzz(func(t *testing.T, key, data, iv string) {
		phone, err := wxphone.DecryptPhoneNumber(legacyAppID, wxphone.SessionKey(key), data, iv)
		if (err == nil) != (phone != nil) {
			t.Fatalf("%v and %v at once", phone, err)
		}
		if err != nil {
			require.ErrorIs(t, err, wxphone.ErrDecrypt)
		}
		var data1 any
		if err := wxphone.DecryptData(legacyAppID, wxphone.SessionKey(key), data, iv, &data1); err != nil {
			require.ErrorIs(t, err, wxphone.ErrDecrypt)
			require.Nil(t, phone, "a phone payload is a payload")
		}
	})
}
