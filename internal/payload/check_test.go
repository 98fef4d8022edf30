package payload

import (
	"bytes"
	"encoding/json"
	"io"
	"math/rand"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

const testAppID = "wx0123456789abcdef"

var (
	telephone = regexp.MustCompile(`^("[-+ ()]*[0-9][-+ ()0-9]*"|0|[1-9][0-9]*)$`)
	seconds   = regexp.MustCompile(`^("[0-9]{1,18}"|0|[1-9][0-9]{0,17})$`)
)

type member struct{ rawKey, key, value string }

// membersOf returns the members of the object that text is.
func membersOf(text string) (members []member, ok bool) {
	d := json.NewDecoder(strings.NewReader(text))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, false
	}
	for d.More() {
		start := d.InputOffset()
		key, err := d.Token()
		if err != nil {
			return nil, false
		}
		m := member{rawKey: strings.Trim(text[start:d.InputOffset()], " \t\r\n,"), key: key.(string)}
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return nil, false
		}
		m.value = string(value)
		members = append(members, m)
	}
	return members, true
}

// only returns the value of the only member that encoding/json would take for
// key. It fails if there are more, or one that is spelled otherwise.
func only(members []member, key string) (value string, ok bool) {
	found := 0
	for _, m := range members {
		if strings.EqualFold(m.key, key) {
			found++
			value = m.value
			if m.rawKey != strconv.Quote(key) {
				return "", false
			}
		}
	}
	return value, found < 2
}

// wellEscaped reports whether no half of a surrogate pair stands alone.
func wellEscaped(text string) bool {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		i++
		if text[i] != 'u' {
			continue
		}
		first, _ := strconv.ParseUint(text[i+1:i+5], 16, 16)
		i += 4
		if !utf16.IsSurrogate(rune(first)) {
			continue
		}
		if len(text) < i+7 || text[i+1:i+3] != `\u` {
			return false
		}
		second, _ := strconv.ParseUint(text[i+3:i+7], 16, 16)
		if utf16.DecodeRune(rune(first), rune(second)) == utf8.RuneError {
			return false
		}
		i += 6
	}
	return true
}

func depthOf(text string) int {
	d := json.NewDecoder(strings.NewReader(text))
	depth, deepest := 0, 0
	for {
		token, err := d.Token()
		if err == io.EOF {
			return deepest
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
			deepest = max(deepest, depth)
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
}

// reference decides with encoding/json what ReadPhone and ReadWatermark decide
// for testAppID.
func reference(b []byte) (phone, data bool) {
	text := string(b)
	if !utf8.Valid(b) || !json.Valid(b) || !wellEscaped(text) || depthOf(text) > 33 {
		return false, false
	}
	top, ok := membersOf(text)
	if !ok {
		return false, false
	}
	inner, ok := only(top, "watermark")
	if !ok || inner == "" {
		return false, false
	}
	watermark, ok := membersOf(inner)
	if !ok {
		return false, false
	}
	appid, ok := only(watermark, "appid")
	if !ok || appid != strconv.Quote(testAppID) {
		return false, false
	}
	if stamp, ok := only(watermark, "timestamp"); !ok || stamp != "" && !seconds.MatchString(stamp) {
		return false, false
	}
	number, ok1 := only(top, "phoneNumber")
	pure, ok2 := only(top, "purePhoneNumber")
	country, ok3 := only(top, "countryCode")
	if !ok1 || !ok2 || !ok3 {
		return false, false
	}
	phone = telephone.MatchString(number) && telephone.MatchString(pure) && telephone.MatchString(country) &&
		strings.HasSuffix(digitsOf(number), digitsOf(pure))
	return phone, phone || number+pure+country == ""
}

// reads decides it with this package's reader.
func reads(b []byte) (phone, data bool) {
	p, isPhone := ReadPhone(b)
	w, isData := ReadWatermark(b)
	return isPhone && string(p.Watermark.AppID) == testAppID, isData && string(w.AppID) == testAppID
}

// corpus are payloads to be altered.
var corpus = []string{
	whole,
	with(`"a":[1,-0.5e+3,true,false,null,{"b":"\ud83d\ude00中😀é\u00e9"}, [] , {} ,"x\\\"",{"c":[1,{"d":"}{]["}]}]`),
	strings.NewReplacer(`"86"`, `86`, `1700000000`, `"1700000000"`).Replace(whole),
	" \t\r\n" + strings.NewReplacer(`:`, " : ", `,`, "\n,\t", `{`, "{\r\n", `}`, " }").Replace(whole) + "\n",
	`{"openId":"x","gender":1,` + watermark + `}`,
	`{"stepInfoList":[{"timestamp":1445866601,"step":100},{"timestamp":1445876601,"step":102}],` + watermark + `}`,
	with(`"note":"` + strings.Repeat("x", 200) + `"`),
}

// altered returns a payload with up to three changes.
func altered(rng *rand.Rand) []byte {
	const alphabet = "{}[]:,\"\\ \n\t0123456789eE.+-truefalsn\x00\x1f\x7f\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80\xed\xa0uDd8cC"
	b := []byte(corpus[rng.Intn(len(corpus))])
	for n := rng.Intn(4); n > 0; n-- {
		at := rng.Intn(len(b))
		c := alphabet[rng.Intn(len(alphabet))]
		switch rng.Intn(5) {
		case 0:
			b[at] = c
		case 1:
			b[at] ^= 1 << rng.Intn(8)
		case 2:
			b = append(b[:at], b[at+1:]...)
		case 3:
			b = append(b[:at:at], append([]byte{c}, b[at:]...)...)
		case 4: // repeat some of it
			b = append(bytes.Clone(b[:min(len(b), at+rng.Intn(20))]), b[at:]...)
		}
	}
	return b
}

func rounds(n int) int {
	if testing.Short() {
		return n / 10
	}
	return n
}

func TestDecisionsAreThoseOfEncodingJSON(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewSource(1))
	phones, others := 0, 0
	for i := 0; i < rounds(200_000); i++ {
		b := altered(rng)
		wantPhone, wantData := reference(b)
		phone, data := reads(b)
		require.Equal(t, []bool{wantPhone, wantData}, []bool{phone, data}, "%q", b)
		if phone {
			phones++
			require.Equal(t, 1, IsPhone(b, testAppID), "%q", b)
		}
		if data {
			others++
			require.Equal(t, 1, IsData(b, testAppID), "%q", b)
		}
	}
	require.Greater(t, phones, rounds(200_000)/10)
	require.Greater(t, others, phones)
}

// What somebody without the key can make of a payload: blocks of garbage in it
// or before its end, and a first block of which he may alter some bits. All of
// that must be refused before it is read, or else be right.
func TestForgeriesAreRefusedBeforeTheyAreRead(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewSource(2))
	taken := 0
	for i := 0; i < rounds(300_000); i++ {
		b := []byte(corpus[rng.Intn(len(corpus))])
		b = append(b, bytes.Repeat([]byte{' '}, 16-len(b)%16)...)
		at := 16 * rng.Intn(len(b)/16)
		garbage := make([]byte, 16)
		rng.Read(garbage)
		switch rng.Intn(4) {
		case 0: // in a place
			copy(b[at:], garbage)
		case 1: // inserted, and what follows is chosen
			b = slices.Insert(b, at, garbage...)
			copy(b[at+16:], `xxxxxxxxxx":1,"x`)
		case 2: // by the iv
			for n := 1 + rng.Intn(4); n > 0; n-- {
				b[rng.Intn(16)] ^= byte(1 + rng.Intn(127))
			}
		case 3: // printable, as one garbled block in a million is
			for j := range garbage {
				garbage[j] = ' ' + garbage[j]%95
			}
			b = slices.Insert(b, at, garbage...)
		}
		phone, data := reads(b)
		require.Equal(t, phone, IsPhone(b, testAppID) == 1, "%q", b)
		require.Equal(t, data, IsData(b, testAppID) == 1, "%q", b)
		if data {
			taken++
		}
	}
	require.Positive(t, taken, "some change what nobody reads")
}

func TestShortestPayloads(t *testing.T) {
	t.Parallel()
	phone := []byte(`{"phoneNumber":1,"purePhoneNumber":1,"countryCode":1,"watermark":{"appid":"` + testAppID + `"}}`)
	data := []byte(`{"watermark":{"appid":"` + testAppID + `"}}`)
	require.Len(t, phone, ShortestPhone(testAppID))
	require.Len(t, data, ShortestData(testAppID))
	isPhone, _ := reads(phone)
	require.True(t, isPhone)
	_, isData := reads(data)
	require.True(t, isData)
}

func TestAppIDOfAnyLength(t *testing.T) {
	t.Parallel()
	for n := 1; n < 140; n++ {
		for shift := 0; shift < 64; shift += 7 {
			appID := strings.Repeat("ab-_Z中q", 20)[:n] // not as long as divides 64
			b := []byte(strings.Repeat(" ", shift) + `{"watermark":{"appid":"` + appID + `"}}`)
			_, ok := ReadWatermark(b)
			require.Equal(t, utf8.ValidString(appID), ok)
			if !ok {
				continue
			}
			require.Equal(t, 1, IsData(b, appID))
			require.Zero(t, IsData(b, appID+"a"))
			require.Zero(t, IsData(b, appID[1:]))
			if n < 60 {
				require.Zero(t, IsData(b, "\x01"+appID[1:]))
			}
		}
	}
}

func TestAppIDThatDiffersInOneBitIsRefusedBeforeItIsRead(t *testing.T) {
	t.Parallel()
	for shift := 0; shift < 64; shift++ {
		b := []byte(strings.Repeat(" ", shift) + whole)
		require.Equal(t, 1, IsPhone(b, testAppID))
		for i := range testAppID {
			for bit := 0; bit < 8; bit++ {
				other := []byte(testAppID)
				other[i] ^= 1 << bit
				require.Zero(t, IsPhone(b, string(other)), "%q", other)
				require.Zero(t, IsData(b, string(other)), "%q", other)
			}
		}
	}
}

// Nothing may depend on where a block of 64 bytes ends.
func TestPayloadsAtEveryOffset(t *testing.T) {
	t.Parallel()
	for _, text := range corpus {
		_, want := reads([]byte(text))
		require.True(t, want)
		for shift := 0; shift < 64; shift++ {
			b := []byte(strings.Repeat(" ", shift) + text)
			require.Equal(t, 1, IsData(b, testAppID), "%q", b)
			b[bytes.LastIndexByte(b, '}')] = ')'
			require.Zero(t, IsData(b, testAppID), "%q", b)
		}
	}
}
