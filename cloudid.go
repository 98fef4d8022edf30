package wxphone

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/wxphone/wxphone/internal/transport"
	"github.com/wxphone/wxphone/internal/wire"
)

// openDataAnswer is the answer of getopendata for one cloudID.
type openDataAnswer struct {
	wire.Status
	DataList []struct {
		JSON wire.Nested[openData] `json:"json"`
	} `json:"data_list"`
}

type openData struct {
	Data    wire.Phone `json:"data"`
	ErrCode wire.Int   `json:"errCode"`
	ErrMsg  wire.Text  `json:"errMsg"`
}

// Outcome returns the status of the item if the item failed, because the answer
// around it has errcode 0 even then.
func (a *openDataAnswer) Outcome() *wire.Status {
	if a.ErrCode.Value != 0 || len(a.DataList) == 0 {
		return &a.Status
	}
	item := &a.DataList[0].JSON.Value
	if item.ErrCode.Value == 0 {
		return &a.Status
	}
	return &wire.Status{ErrCode: item.ErrCode, ErrMsg: item.ErrMsg}
}

func (a *openDataAnswer) phone() *wire.Phone {
	if len(a.DataList) == 0 {
		return new(wire.Phone)
	}
	return &a.DataList[0].JSON.Value.Data
}

// GetPhoneNumberByCloudID exchanges the cloudID of the phone number button, its
// e.detail.cloudID, for the phone number of the user openid. It is for
// mini-programs that use WeChat's cloud development. A cloudID is valid for 5
// minutes.
//
// The error matches [ErrCodeInvalid] if the user must tap again because the
// cloudID is unknown, has expired or belongs to another user. It matches
// [ErrNoPhoneNumber] if the user's account has no phone number or the answer
// contains none, and [ErrWatermark] if the answer is for another appid.
//
// See https://developers.weixin.qq.com/miniprogram/dev/server/API/cloudbase/others/api_getopendata.html
func (c *Client) GetPhoneNumberByCloudID(ctx context.Context, openid, cloudID string) (*PhoneInfo, error) {
	if err := c.check(ctx); err != nil {
		return nil, err
	}
	if openid == "" {
		return nil, invalid("openid", "is empty")
	}
	if strings.TrimSpace(cloudID) == "" {
		return nil, invalid("cloudID", "is empty")
	}
	answer, err := c.api.call(ctx, &transport.Request{
		Method:    http.MethodPost,
		Path:      pathGetOpenData,
		Query:     "openid=" + url.QueryEscape(openid),
		Body:      wire.ObjectOfList("cloudid_list", cloudID),
		Secrets:   []string{cloudID},
		NewAnswer: func() wire.Answer { return new(openDataAnswer) },
	})
	if err != nil {
		return nil, err
	}
	return c.ownPhoneInfo(pathGetOpenData, answer.(*openDataAnswer).phone())
}
