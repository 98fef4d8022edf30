package payload

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	number    = `"phoneNumber":"+8613800000000"`
	pure      = `"purePhoneNumber":"13800000000"`
	country   = `"countryCode":"86"`
	timestamp = `"timestamp":1700000000`
	appID     = `"appid":"wx0123456789abcdef"`
	watermark = `"watermark":{` + timestamp + `,` + appID + `}`
	fields    = number + `,` + pure + `,` + country
	whole     = `{` + fields + `,` + watermark + `}`
)

// with adds a member to a payload that is right otherwise.
func with(member string) string { return `{` + fields + `,` + member + `,` + watermark + `}` }

func TestPhonePayload(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"as WeChat writes it":      whole,
		"as it documents":          `{` + fields + `,"watermark":{` + appID + `,` + timestamp + `}}`,
		"watermark first":          `{` + watermark + `,` + country + `,` + pure + `,` + number + `}`,
		"numeric country":          strings.Replace(whole, `"86"`, `86`, 1),
		"numeric pure number":      strings.Replace(whole, `"13800000000"`, `13800000000`, 1),
		"timestamp in a string":    strings.Replace(whole, `1700000000`, `"1700000000"`, 1),
		"white space":              " \t\r\n" + strings.NewReplacer(`:`, " : ", `,`, "\n,\t", `{`, "{\r\n", `}`, " }").Replace(whole) + "\n",
		"unknown keys":             with(`"a":1,"b":"x","c":null,"d":true,"e":false,"f":[],"g":{},"":-0.5e+10`),
		"unknown key twice":        with(`"a":1,"a":2`),
		"unknown key with escapes": with(`"a\"\\\/\b\f\n\r\t\u4e2d\ud83d\ude00":1`),
		"key near a known one":     with(`"phoneNumbe":1,"phoneNumbers":2,"phone_number":3,"phoneNumb\u0045":4,"watermarкs":5`),
		"longer keys":              with(`"purePhoneNumbers":1,"purePhoneNumberOfTheUser":2`),
		"escape and hexadecimal":   strings.Replace(whole, appID, appID+`,"\b0061ppid":1`, 1),
		"known below unknown":      with(`"a":{` + fields + `,` + fields + `,"PHONENUMBER":1}`),
		"appid at the top":         with(`"appid":1,"APPID":2,"timestamp":"x"`),
		"number in the watermark":  strings.Replace(whole, appID, appID+`,"phoneNumber":1,"watermark":{}`, 1),
		"nested":                   with(`"a":[[{"b":[1,"x",{}]},[]],0,-1,1e9,0.0]`),
		"deep":                     with(`"a":` + strings.Repeat(`[`, 32) + strings.Repeat(`]`, 32)),
		"deep in objects":          with(`"a":` + strings.Repeat(`{"a":`, 32) + `1` + strings.Repeat(`}`, 32)),
		"UTF-8":                    with(`"名":"Ωя中😀` + "\u007f\u2028\ufffd" + `"`),
		"escaped surrogates":       with(`"a":"\uD83D\uDE00\uFFFD\u0000"`),
	} {
		p, ok := ReadPhone([]byte(text))
		require.True(t, ok, name)
		require.Equal(t, "+8613800000000", string(p.Number), name)
		require.Equal(t, "13800000000", string(p.PureNumber), name)
		require.Equal(t, "86", string(p.CountryCode), name)
		require.Equal(t, "wx0123456789abcdef", string(p.Watermark.AppID), name)
		require.EqualValues(t, 1700000000, p.Watermark.Timestamp, name)

		w, ok := ReadWatermark([]byte(text))
		require.True(t, ok, name)
		require.Equal(t, p.Watermark, w, name)

		require.Equal(t, 1, IsPhone([]byte(text), testAppID), name)
		require.Equal(t, 1, IsData([]byte(text), testAppID), name)
	}
}

func TestTimestampMayBeMissing(t *testing.T) {
	t.Parallel()
	p, ok := ReadPhone([]byte(strings.Replace(whole, timestamp+`,`, ``, 1)))
	require.True(t, ok)
	require.Zero(t, p.Watermark.Timestamp)
}

// These are refused as phone payloads and as any other.
func TestNotStrictJSON(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty":                   ``,
		"white space":             ` `,
		"not an object":           `[` + whole + `]`,
		"trailing byte":           whole + `x`,
		"trailing value":          whole + ` {}`,
		"trailing zero byte":      whole + "\x00",
		"byte order mark":         "\ufeff" + whole,
		"form feed":               "\f" + whole,
		"trailing comma":          whole[:len(whole)-1] + `,}`,
		"leading comma":           `{,` + whole[1:],
		"comma missing":           with(`"a":1 "b":2`),
		"colon missing":           with(`"a" 1`),
		"value missing":           with(`"a":`),
		"key not a string":        with(`a:1`),
		"single quotes":           with(`'a':1`),
		"comment":                 with(`"a":1/**/`),
		"invalid UTF-8":           with("\"a\":\"\xff\""),
		"overlong UTF-8":          with("\"a\":\"\xc0\xaf\""),
		"UTF-8 surrogate":         with("\"a\":\"\xed\xa0\x80\""),
		"cut UTF-8":               with("\"a\":\"\xe4\xb8\""),
		"invalid UTF-8 in a key":  with("\"\xff\":1"),
		"UTF-8 beyond a string":   with("\u00a0\"a\":1"),
		"control in a string":     with("\"a\":\"\n\""),
		"zero in a string":        with("\"a\":\"\x00\""),
		"control in a key":        with("\"\t\":1"),
		"unknown escape":          with(`"a":"\x"`),
		"escaped quote":           with(`"a":"\'"`),
		"short \\u":               with(`"a":"\u12"`),
		"bad \\u":                 with(`"a":"\u12g4"`),
		"lone high surrogate":     with(`"a":"\ud83d"`),
		"high surrogate and text": with(`"a":"\ud83dabcdef"`),
		"two high surrogates":     with(`"a":"\ud83d\ud83d"`),
		"lone low surrogate":      with(`"a":"\ude00"`),
		"surrogates swapped":      with(`"a":"\ude00\ud83d"`),
		"leading zero":            with(`"a":01`),
		"plus":                    with(`"a":+1`),
		"minus alone":             with(`"a":-`),
		"point alone":             with(`"a":1.`),
		"no integer part":         with(`"a":.5`),
		"exponent alone":          with(`"a":1e`),
		"signed exponent alone":   with(`"a":1e+`),
		"hexadecimal":             with(`"a":0x10`),
		"NaN":                     with(`"a":NaN`),
		"half a word":             with(`"a":tru`),
		"longer word":             with(`"a":nulls`),
		"array without comma":     with(`"a":[1 2]`),
		"array with last comma":   with(`"a":[1,]`),
		"brackets crossed":        with(`"a":[{]}`),
		"too deep":                with(`"a":` + strings.Repeat(`[`, 33) + strings.Repeat(`]`, 33)),
		"too deep in objects":     with(`"a":` + strings.Repeat(`{"a":`, 33) + `1` + strings.Repeat(`}`, 33)),
		"far too deep":            with(`"a":` + strings.Repeat(`[`, 1<<16)),
		"no watermark":            `{` + fields + `}`,
		"watermark null":          `{` + fields + `,"watermark":null}`,
		"watermark a string":      `{` + fields + `,"watermark":"x"}`,
		"watermark empty":         `{` + fields + `,"watermark":{}}`,
		"watermark twice":         with(watermark),
		"watermark in capitals":   with(`"Watermark":{}`),
		"watermark with Kelvin":   with("\"watermar\u212a\":{}"),
		"watermark escaped":       with(`"watermar\u006B":{}`),
		"only escaped":            strings.Replace(whole, `watermark`, `\u0077atermark`, 1),
		"appid missing":           strings.Replace(whole, `,`+appID, ``, 1),
		"appid twice":             strings.Replace(whole, appID, appID+`,`+appID, 1),
		"appid in capitals":       strings.Replace(whole, appID, appID+`,"appID":"x"`, 1),
		"appid with a capital":    strings.Replace(whole, appID, appID+`,"Appid":"x"`, 1),
		"appid but for its a":     strings.Replace(whole, appID, appID+`,"aPPID":"x"`, 1),
		"appid a number":          strings.Replace(whole, appID, `"appid":1`, 1),
		"appid null":              strings.Replace(whole, appID, `"appid":null`, 1),
		"appid with an escape":    strings.Replace(whole, `:"wx01`, `:"\u0077x01`, 1),
		"timestamp twice":         strings.Replace(whole, timestamp, timestamp+`,`+timestamp, 1),
		"timestamp with long s":   strings.Replace(whole, timestamp, "\"time\u017ftamp\":1", 1),
		"timestamp negative":      strings.Replace(whole, `17000`, `-17000`, 1),
		"timestamp fraction":      strings.Replace(whole, timestamp, timestamp+`.0`, 1),
		"timestamp exponent":      strings.Replace(whole, timestamp, timestamp+`e1`, 1),
		"timestamp null":          strings.Replace(whole, timestamp, `"timestamp":null`, 1),
		"timestamp empty":         strings.Replace(whole, timestamp, `"timestamp":""`, 1),
		"timestamp not digits":    strings.Replace(whole, timestamp, `"timestamp":"17x"`, 1),
		"timestamp too large":     strings.Replace(whole, timestamp, `"timestamp":1000000000000000000`, 1),
	} {
		_, ok := ReadPhone([]byte(text))
		require.False(t, ok, name)
		_, ok = ReadWatermark([]byte(text))
		require.False(t, ok, name)
	}
}

// A payload that names a phone number must be a whole phone payload, whatever
// it is read as.
func TestPhonePayloadThatIsOnlyJSON(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"number missing":          `{` + pure + `,` + country + `,` + watermark + `}`,
		"pure number missing":     `{` + number + `,` + country + `,` + watermark + `}`,
		"country missing":         `{` + number + `,` + pure + `,` + watermark + `}`,
		"number twice":            with(number),
		"pure number twice":       with(pure),
		"country twice":           with(country),
		"number in another case":  with(`"PhoneNumber":"1"`),
		"number all small":        with(`"phonenumber":"1"`),
		"number escaped":          with(`"phoneNumb\u0065r":"1"`),
		"pure with escape, case":  with(`"PUREphoneNumb\u0045R":"1"`),
		"country in capitals":     with(`"COUNTRYCODE":"1"`),
		"number null":             strings.Replace(whole, number, `"phoneNumber":null`, 1),
		"number an array":         strings.Replace(whole, number, `"phoneNumber":["1"]`, 1),
		"number an object":        strings.Replace(whole, number, `"phoneNumber":{}`, 1),
		"number empty":            strings.Replace(whole, number, `"phoneNumber":""`, 1),
		"number without digit":    strings.Replace(whole, number, `"phoneNumber":"+"`, 1),
		"number with a letter":    strings.Replace(whole, `+86`, `x86`, 1),
		"number with an escape":   strings.Replace(whole, `+86`, `\u002b86`, 1),
		"number of other digits":  strings.Replace(whole, `+86`, `８６`, 1),
		"number negative":         strings.Replace(whole, `"13800000000"`, `-13800000000`, 1),
		"number with an exponent": strings.Replace(whole, `"13800000000"`, `138e8`, 1),
		"country fraction":        strings.Replace(whole, `"86"`, `86.0`, 1),
		"country empty":           strings.Replace(whole, `"86"`, `""`, 1),
		"country a word":          strings.Replace(whole, `"86"`, `"CN"`, 1),
		"numbers disagree":        strings.Replace(whole, `:"138`, `:"139`, 1),
		"pure number longer":      strings.Replace(whole, `:"138`, `:"00086138`, 1),
	} {
		_, ok := ReadPhone([]byte(text))
		require.False(t, ok, name)
		_, ok = ReadWatermark([]byte(text))
		require.False(t, ok, name)
	}
}

func TestEveryCutIsRefused(t *testing.T) {
	t.Parallel()
	text := with(`"a\u4e2d":[null,{"b":-1.5e-3}],"c":"\ud83d\ude00中"`)
	_, ok := ReadPhone([]byte(text))
	require.True(t, ok)
	for n := range len(text) {
		_, ok := ReadPhone([]byte(text[:n]))
		require.False(t, ok, "%q", text[:n])
	}
}

// The usual order is read without looking at the keys one by one.
func TestPieceLeftOutIsDecidedAsByEncodingJSON(t *testing.T) {
	t.Parallel()
	for from := range len(whole) {
		for to := from; to <= len(whole); to++ {
			b := []byte(whole[:from] + whole[to:])
			wantPhone, wantData := reference(b)
			phone, data := reads(b)
			require.Equal(t, []bool{wantPhone, wantData}, []bool{phone, data}, "%q", b)
		}
	}
}

func TestReadingLeavesTheInputAlone(t *testing.T) {
	t.Parallel()
	for _, text := range []string{whole, whole[:50], "x" + whole} {
		b := []byte(text)
		ReadPhone(b)
		ReadWatermark(b)
		require.True(t, bytes.Equal([]byte(text), b))
	}
}

func TestReadingDoesNotAllocate(t *testing.T) {
	for _, text := range []string{whole, with(`"W\u0061termark":1`), with(`"名":"中\ud83d\ude00"`), "x" + whole} {
		b := []byte(text)
		require.Zero(t, testing.AllocsPerRun(10, func() {
			ReadPhone(b)
			ReadWatermark(b)
			IsPhone(b, testAppID)
			IsData(b, testAppID)
		}), text)
	}
}

func BenchmarkReadPhone(b *testing.B) {
	b.ReportAllocs()
	text := []byte(whole)
	for i := 0; i < b.N; i++ {
		ReadPhone(text)
	}
}

func BenchmarkIsPhone(b *testing.B) {
	b.ReportAllocs()
	text := []byte(whole + strings.Repeat(" ", 160-len(whole)))
	for i := 0; i < b.N; i++ {
		IsPhone(text, testAppID)
	}
}
