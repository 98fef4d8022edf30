package payload

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// lenient is text that may be a JSON number, as encoding/json reads it.
type lenient string

func (l *lenient) UnmarshalJSON(b []byte) error {
	if b[0] == '"' {
		return json.Unmarshal(b, (*string)(l))
	}
	*l = lenient(b)
	return nil
}

type lenientWatermark struct {
	AppID     string  `json:"appid"`
	Timestamp lenient `json:"timestamp"`
}

type lenientPhone struct {
	PhoneNumber     lenient          `json:"phoneNumber"`
	PurePhoneNumber lenient          `json:"purePhoneNumber"`
	CountryCode     lenient          `json:"countryCode"`
	Watermark       lenientWatermark `json:"watermark"`
}

// FuzzRead checks that encoding/json reads whatever is accepted in the same
// way, and that it repairs, folds or drops nothing of it.
func FuzzRead(f *testing.F) {
	for _, text := range []string{
		whole,
		`{` + fields + `,"watermark":{` + appID + `}}`,
		strings.NewReplacer(`"86"`, `86`, `1700000000`, `"1700000000"`).Replace(whole),
		with(`"a":[1,-0.5e+3,true,false,null,{"b":"\ud83d\ude00中"}]`),
		with(`"PhoneNumber":"1"`),
		with(`"phoneNumb\u0065r":"1"`),
		with("\"watermar\u212a\":{}"),
		with(number),
		with("\"a\":\"\xff\\ud800\""),
		`{"openId":"x","gender":1,` + watermark + `}`,
		``,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, isPhone := ReadPhone(b)
		w, isData := ReadWatermark(b)
		if isPhone && !isData {
			t.Fatal("a phone payload is a payload")
		}
		for _, appID := range []string{string(w.AppID), testAppID, "", "x"} {
			right := string(w.AppID) == appID
			if isPhone && right && IsPhone(b, appID) != 1 || isData && right && IsData(b, appID) != 1 {
				t.Fatal("what is read was refused before")
			}
			if isData && !right && IsPhone(b, appID)|IsData(b, appID) != 0 {
				t.Fatal("another appid is taken")
			}
		}
		if !isData {
			return
		}
		if !utf8.Valid(b) {
			t.Fatal("invalid UTF-8 accepted")
		}
		var want lenientPhone
		if isPhone {
			if err := json.Unmarshal(b, &want); err != nil {
				t.Fatalf("encoding/json refuses it: %v", err)
			}
			got := lenientPhone{PhoneNumber: lenient(p.Number), PurePhoneNumber: lenient(p.PureNumber), CountryCode: lenient(p.CountryCode)}
			got.Watermark = want.Watermark
			if got != want {
				t.Fatalf("encoding/json reads %+v, not %+v", want, got)
			}
			if !strings.HasSuffix(digitsOf(string(p.Number)), digitsOf(string(p.PureNumber))) {
				t.Fatal("the numbers disagree")
			}
			sameWatermark(t, p.Watermark, want.Watermark)
		}
		var data struct {
			Watermark lenientWatermark `json:"watermark"`
		}
		if err := json.Unmarshal(b, &data); err != nil {
			t.Fatalf("encoding/json refuses it: %v", err)
		}
		sameWatermark(t, w, data.Watermark)
		var all map[string]json.RawMessage
		if err := json.Unmarshal(b, &all); err != nil {
			t.Fatalf("encoding/json refuses it: %v", err)
		}
		for name := range all {
			if strings.EqualFold(name, "watermark") && name != "watermark" {
				t.Fatalf("%q accepted", name)
			}
		}
	})
}

func sameWatermark(t *testing.T, got Watermark, want lenientWatermark) {
	t.Helper()
	seconds, err := strconv.ParseInt(string(want.Timestamp), 10, 64)
	if want.Timestamp != "" && err != nil {
		t.Fatal(err)
	}
	if string(got.AppID) != want.AppID || got.Timestamp != seconds {
		t.Fatalf("encoding/json reads %+v, not %+v", want, got)
	}
}

func digitsOf(s string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, s)
}

// FuzzCheck checks that bit by bit and token by token the same is taken.
func FuzzCheck(f *testing.F) {
	for _, text := range corpus {
		f.Add([]byte(text))
	}
	for _, piece := range seams {
		f.Add([]byte(with(piece)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		phone, data := modelOf(b, testAppID)
		if IsPhone(b, testAppID) != phone || IsData(b, testAppID) != data {
			t.Fatalf("got %d, %d, the model says %d, %d", IsPhone(b, testAppID), IsData(b, testAppID), phone, data)
		}
	})
}
