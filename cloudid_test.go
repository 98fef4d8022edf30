//go:build go1.25

package wxphone_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

const openDataPath = "/wxa/getopendata"

func TestCloudIDBecomesAPhoneNumber(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]wxphonetest.Option{
		"json as a string":  nil,
		"json as an object": {wxphonetest.WithCloudIDObjects()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t, options...)
				client := server.NewClient()
				cloudID := server.IssueCloudID("o-1", aPhone)
				info, err := client.GetPhoneNumberByCloudID(t.Context(), "o-1", cloudID)
				require.NoError(t, err)
				assert.Equal(t, "+8613800000000", info.E164())

				_, err = client.GetPhoneNumberByCloudID(t.Context(), "o-2", cloudID)
				require.ErrorIs(t, err, wxphone.ErrCodeInvalid, "another user's")
				time.Sleep(5*time.Minute + time.Second)
				_, err = client.GetPhoneNumberByCloudID(t.Context(), "o-1", cloudID)
				require.ErrorIs(t, err, wxphone.ErrCodeInvalid, "expired")
				assert.Equal(t, 400, wxphone.HTTPStatus(err))
			})
		})
	}
}

func TestWhatGetOpenDataAnswers(t *testing.T) {
	t.Parallel()
	const phone = `"phoneNumber":"13800000000","purePhoneNumber":"13800000000","countryCode":"86"`
	tests := map[string]struct {
		body   string
		want   error
		status int
	}{
		"bad cloudID":       {`{"errcode":0,"data_list":[{"json":"{\"errCode\":-601005,\"errMsg\":\"bad\"}"}]}`, wxphone.ErrCodeInvalid, 400},
		"expired":           {`{"errcode":0,"data_list":[{"json":{"errCode":-601006,"errMsg":"expired"}}]}`, wxphone.ErrCodeInvalid, 400},
		"other user":        {`{"errcode":0,"data_list":[{"json":{"errCode":"-601007"}}]}`, wxphone.ErrCodeInvalid, 400},
		"no number bound":   {`{"errcode":0,"data_list":[{"json":{"errCode":-601009}}]}`, wxphone.ErrNoPhoneNumber, 502},
		"no permission":     {`{"errcode":0,"data_list":[{"json":{"errCode":-601004}}]}`, wxphone.ErrUnauthorized, 500},
		"outer errcode":     {`{"errcode":40003,"errmsg":"invalid openid"}`, nil, 400},
		"empty list":        {`{"errcode":0,"data_list":[]}`, wxphone.ErrNoPhoneNumber, 502},
		"no list":           {`{"errcode":0}`, wxphone.ErrNoPhoneNumber, 502},
		"garbage in json":   {`{"errcode":0,"data_list":[{"json":"<html>"}]}`, wxphone.ErrNoPhoneNumber, 502},
		"null in json":      {`{"errcode":0,"data_list":[{"json":null}]}`, wxphone.ErrNoPhoneNumber, 502},
		"empty number":      {`{"errcode":0,"data_list":[{"json":{"data":{"phoneNumber":""}}}]}`, wxphone.ErrNoPhoneNumber, 502},
		"another app's":     {`{"errcode":0,"data_list":[{"json":{"data":{` + phone + `,"watermark":{"appid":"wxother"}}}}]}`, wxphone.ErrWatermark, 502},
		"without watermark": {`{"errcode":0,"data_list":[{"json":{"data":{` + phone + `}}}]}`, nil, 200},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := wxphonetest.NewServer(t)
				server.RespondNext(openDataPath, http.StatusOK, tt.body, -1)
				_, err := server.NewClient().GetPhoneNumberByCloudID(t.Context(), "o-1", "cloud-id")
				assert.Equal(t, tt.status, wxphone.HTTPStatus(err), "%v", err)
				if tt.want != nil {
					require.ErrorIs(t, err, tt.want)
				}
			})
		})
	}
}

func TestBusyItemIsRetriedAndAnAPIErrorAfterwards(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := wxphonetest.NewServer(t)
		client := server.NewClient()
		server.RespondNext(openDataPath, 200, `{"errcode":0,"data_list":[{"json":{"errCode":-601008,"errMsg":"timeout"}}]}`, 2)
		_, err := client.GetPhoneNumberByCloudID(t.Context(), "o-1", server.IssueCloudID("o-1", aPhone))
		require.NoError(t, err)
		require.Equal(t, 3, server.Requests(openDataPath))

		server.RespondNext(openDataPath, 200, `{"errcode":0,"data_list":[{"json":{"errCode":-601001,"errMsg":"system"}}]}`, -1)
		_, err = client.GetPhoneNumberByCloudID(t.Context(), "o-1", "cloud-id")
		var refusal *wxphone.APIError
		require.ErrorAs(t, err, &refusal)
		assert.Equal(t, -601001, refusal.Code)
		assert.Equal(t, "system", refusal.Message)
		assert.Equal(t, openDataPath, refusal.Endpoint)
	})
}
