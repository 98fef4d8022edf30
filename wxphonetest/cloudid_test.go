package wxphonetest_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

var markedPhone = wxphone.PhoneInfo{
	PhoneNumber: "13800000000", PurePhoneNumber: "13800000000", CountryCode: "86",
	Watermark: wxphone.Watermark{AppID: "wx1", Timestamp: 1700000000},
}

func openCloudIDs(t *testing.T, s *wxphonetest.Server, openid string, ids ...string) answer {
	t.Helper()
	return post(t, s, getOpenData, withToken(s, "openid", openid), map[string]any{"cloudid_list": ids})
}

func TestCloudIDStandsForAPhoneNumber(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		opts   []wxphonetest.Option
		asText bool
	}{
		"as a string":  {nil, true},
		"as an object": {[]wxphonetest.Option{wxphonetest.WithCloudIDObjects()}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := wxphonetest.NewServer(t, tc.opts...)
			id := s.IssueCloudID("o", markedPhone)
			a := openCloudIDs(t, s, "o", id)
			assert.Zero(t, a.ErrCode)
			require.Len(t, a.DataList, 1)
			assert.Equal(t, id, a.DataList[0].CloudID)

			inner := string(a.DataList[0].JSON)
			if tc.asText {
				require.NoError(t, json.Unmarshal(a.DataList[0].JSON, &inner))
			}
			assert.Equal(t, `{"cloudID":"`+id+`","data":{"phoneNumber":"13800000000","purePhoneNumber":"13800000000",`+
				`"countryCode":"86","watermark":{"timestamp":1700000000,"appid":"wx1"}}}`, inner)
		})
	}
}

func TestCloudIDFailuresAreInsideASuccess(t *testing.T) {
	t.Parallel()
	s := wxphonetest.NewServer(t, wxphonetest.WithCloudIDObjects())
	mine, theirs := s.IssueCloudID("mine", somePhone), s.IssueCloudID("theirs", somePhone)
	a := openCloudIDs(t, s, "mine", mine, theirs, "unknown")
	assert.Zero(t, a.ErrCode)
	require.Len(t, a.DataList, 3)
	assert.Zero(t, itemErrCode(t, a, 0))
	assert.Equal(t, -601007, itemErrCode(t, a, 1))
	assert.Equal(t, -601005, itemErrCode(t, a, 2))
}

func itemErrCode(t *testing.T, a answer, i int) int {
	t.Helper()
	var inner struct {
		ErrCode int    `json:"errCode"`
		ErrMsg  string `json:"errMsg"`
	}
	require.NoError(t, json.Unmarshal(a.DataList[i].JSON, &inner))
	assert.Equal(t, inner.ErrCode == 0, inner.ErrMsg == "")
	return inner.ErrCode
}
