package app

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// A phone that hangs up in the middle has used its code up. The handler comes to
// the line that saves the number all the same.
func TestHandlerFinishesAlthoughThePhoneHungUp(t *testing.T) {
	const endpoint = "/wxa/business/checkencryptedmsg"
	wechat := wxphonetest.NewServer(t)
	wechat.SetLatency(endpoint, 200*time.Millisecond)
	somebody := wxphone.PhoneInfo{PhoneNumber: "13800000000", PurePhoneNumber: "13800000000", CountryCode: "86"}
	handler := LegacyPhoneHandler(wechat.NewClient(), oneSession{wechat.SessionKey("openid-of-alice")})
	encryptedData, iv := wechat.Encrypt("openid-of-alice", somebody)
	body := `{"encryptedData":"` + encryptedData + `","iv":"` + iv + `"}`

	ctx, hangUp := context.WithCancel(context.Background())
	go func() {
		for wechat.Requests(endpoint) == 0 {
			time.Sleep(time.Millisecond)
		}
		hangUp()
	}()
	w := httptest.NewRecorder()
	r := httptest.NewRequest("POST", "/", strings.NewReader(body)).WithContext(ctx)
	r.Header.Set("X-Session", "a session")
	handler(w, r)
	if ctx.Err() == nil {
		t.Error("the line was to be cut before the answer")
	}
	if got := strings.TrimSpace(w.Body.String()); w.Code != 200 || got != "+86 138****0000" {
		t.Errorf("got %d %s", w.Code, got)
	}
}

// oneSession is Sessions with Alice's alone.
type oneSession struct{ key wxphone.SessionKey }

func (s oneSession) Save(context.Context, string, string) (string, error) { return "a session", nil }

func (s oneSession) Load(context.Context, string) (openid, sessionKey string, ok bool, err error) {
	return "openid-of-alice", string(s.key), true, nil
}
