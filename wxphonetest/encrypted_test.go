package wxphonetest_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

const vectorKey = wxphone.SessionKey("AAECAwQFBgcICQoLDA0ODw==")

// open decrypts without judging, so that the padding can be looked at.
func open(t *testing.T, key wxphone.SessionKey, encryptedData, iv string) string {
	t.Helper()
	decode := func(text string) []byte {
		b, err := base64.StdEncoding.DecodeString(text)
		require.NoError(t, err)
		return b
	}
	block, err := aes.NewCipher(decode(string(key)))
	require.NoError(t, err)
	data := decode(encryptedData)
	cipher.NewCBCDecrypter(block, decode(iv)).CryptBlocks(data, data)
	return string(data)
}

func hash(encryptedData string) string {
	sum := sha256.Sum256([]byte(encryptedData))
	return hex.EncodeToString(sum[:])
}

func checkData(t *testing.T, s *wxphonetest.Server, encryptedData string) answer {
	t.Helper()
	return post(t, s, checkEncryptedMsg, withToken(s), map[string]string{"encrypted_msg_hash": hash(encryptedData)})
}

func TestSealPadsAsPKCS7(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		payload any
		want    string
	}{
		"empty":         {"", strings.Repeat("\x10", 16)},
		"short text":    {"abc", "abc" + strings.Repeat("\x0d", 13)},
		"a whole block": {strings.Repeat("a", 16), strings.Repeat("a", 16) + strings.Repeat("\x10", 16)},
		"bytes":         {[]byte{0, 255}, "\x00\xff" + strings.Repeat("\x0e", 14)},
		"JSON":          {map[string]string{"a": "<&>"}, `{"a":"<&>"}` + strings.Repeat("\x05", 5)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, iv := wxphonetest.Seal(vectorKey, tc.payload)
			assert.Equal(t, tc.want, open(t, vectorKey, data, iv))

			other, otherIV := wxphonetest.Seal(vectorKey, tc.payload)
			assert.NotEqual(t, iv, otherIV)
			assert.NotEqual(t, data, other)
		})
	}
}

func TestSealLeavesItsPayloadAlone(t *testing.T) {
	t.Parallel()
	backing := []byte("abcdefgh")
	wxphonetest.Seal(vectorKey, backing[:3])
	assert.Equal(t, "abcdefgh", string(backing))
}

func TestSealPanicsOnMisuse(t *testing.T) {
	t.Parallel()
	for name, misuse := range map[string]func(){
		"no base64":    func() { wxphonetest.Seal("?", "") },
		"15 bytes":     func() { wxphonetest.Seal("AAECAwQFBgcICQoLDA0O", "") },
		"32 bytes":     func() { wxphonetest.Seal(wxphone.SessionKey(strings.Repeat("A", 43)+"="), "") },
		"no JSON form": func() { wxphonetest.Seal(vectorKey, make(chan int)) },
	} {
		assert.Panics(t, misuse, name)
	}
}

func TestEncryptIsForTheUsersSession(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	phone := somePhone
	phone.Watermark = wxphone.Watermark{AppID: "wx0123456789abcdef", Timestamp: 1700000000}

	data, iv := s.Encrypt("o", phone)
	key := s.SessionKey("o")
	assert.Equal(t,
		`{"phoneNumber":"13800000000","purePhoneNumber":"13800000000","countryCode":"86","watermark":{"timestamp":1700000000,"appid":"wx0123456789abcdef"}}`+strings.Repeat("\x0e", 14),
		open(t, key, data, iv), "this is vector S1's plaintext")

	s.RotateSessionKey("o")
	assert.NotContains(t, open(t, s.SessionKey("o"), data, iv), "138000")
}

func TestEncryptCompletesANumberAsWeChatHasIt(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	data, iv := s.Encrypt("o", wxphone.PhoneInfo{PhoneNumber: "13800000000"})
	phone, err := wxphone.DecryptPhoneNumber(s.AppID(), s.SessionKey("o"), data, iv)
	require.NoError(t, err)
	assert.Equal(t, "13800000000", phone.PurePhoneNumber)
	assert.Equal(t, "86", phone.CountryCode)

	data, iv = s.Encrypt("o", wxphone.PhoneInfo{PhoneNumber: "+14155550100", PurePhoneNumber: "4155550100", CountryCode: "1"})
	phone, err = wxphone.DecryptPhoneNumber(s.AppID(), s.SessionKey("o"), data, iv)
	require.NoError(t, err)
	assert.Equal(t, "1", phone.CountryCode)
}

func TestEncryptMarksTheData(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	data, iv := s.Encrypt("o", somePhone)
	assert.Contains(t, open(t, s.SessionKey("o"), data, iv), `"appid":"`+s.AppID()+`"`)
}

func TestCheckEncryptedMsgTellsRealFromForged(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t)
	data, _ := s.Encrypt("o", somePhone)
	a := checkData(t, s, data)
	assert.Zero(t, a.ErrCode)
	require.NotNil(t, a.Valid)
	assert.True(t, *a.Valid)
	assert.WithinDuration(t, time.Now(), time.Unix(a.CreateTime, 0), 10*time.Second)

	forged, _ := wxphonetest.Seal(s.SessionKey("o"), somePhone)
	assert.Equal(t, 1, checkData(t, s, forged).ErrCode)
}

func TestUnknownDataMayBeInvalidInstead(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t, wxphonetest.WithUnknownDataAsInvalid())
	assert.Equal(t, `{"errcode":0,"errmsg":"ok","vaild":false,"create_time":0}`, checkData(t, s, "forged").raw)
}

func TestDigestVectors(t *testing.T) {
	t.Parallel()
	const s1 = "aLhedzo+Z6es5zW+YHo9snYC0yqzXTKggXNMQvhcyudkik75xObeE7YxlOkqVmhFK8f+LxhMgOYi9sTvM5HwmI782mFnqn3zZPlUfzWBBP/6qAGbf5iVZm6scZDBeHhAYxqAfDna3wjWIIw4JekkOgPqYRi5a1p2CbxrAzXBAOZMvs9LoF8ukdHuBs+IbJ3JzDVGGDB3LlRR1b+PJx8SKA=="
	assert.Equal(t, "8cebebe4921c4d9fe77dfc68413f1d99d2214aa2e996244dad29c4b9719708d7", hash(s1))
}
