package wxphonetest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/wxphone/wxphone/wxphonetest"
)

// recordingTB keeps what a Server reports, and its cleanups.
type recordingTB struct {
	errors   []string
	cleanups []func()
}

func (r *recordingTB) Helper()          {}
func (r *recordingTB) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *recordingTB) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}
func (r *recordingTB) Fatalf(format string, args ...any) { r.Errorf(format, args...) }
func (r *recordingTB) Logf(string, ...any)               {}

func TestFaultForAMisspeltEndpointFailsTheTest(t *testing.T) {
	t.Parallel()
	const misspelt = "/wxa/business/getphonenumber"
	for name, set := range map[string]func(*wxphonetest.Server){
		"FailNext":    func(s *wxphonetest.Server) { s.FailNext(misspelt, -1, "", 1) },
		"RespondNext": func(s *wxphonetest.Server) { s.RespondNext(misspelt, 500, "", 1) },
		"DropNext":    func(s *wxphonetest.Server) { s.DropNext(misspelt, 1) },
		"LoseNext":    func(s *wxphonetest.Server) { s.LoseNext(misspelt, 1) },
		"SetLatency":  func(s *wxphonetest.Server) { s.SetLatency(misspelt, time.Second) },
	} {
		tb := new(recordingTB)
		set(wxphonetest.NewServer(tb))
		for _, cleanup := range tb.cleanups {
			cleanup()
		}
		if assert.Len(t, tb.errors, 1, name) {
			assert.Contains(t, tb.errors[0], misspelt)
		}
	}
}

func TestFaultForAnAPIOfTheTestsOwnIsFine(t *testing.T) {
	t.Parallel()
	tb := new(recordingTB)
	server := wxphonetest.NewServer(tb)
	server.RespondNext("/wxa/msg_sec_check", 200, `{"errcode":0}`, 1)
	server.FailNext("/cgi-bin/stable_token", -1, "", 1) // known, but never asked
	resp, err := server.HTTPClient().Get("https://api.weixin.qq.com/wxa/msg_sec_check")
	if assert.NoError(t, err) {
		assert.NoError(t, resp.Body.Close())
	}
	for _, cleanup := range tb.cleanups {
		cleanup()
	}
	assert.Empty(t, tb.errors)
}
