package wxphonetest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/wxphone/wxphone"
)

const pathGetOpenData = "/wxa/getopendata"

// cloudID is an issued cloudID for one user's phone number.
type cloudID struct {
	expiresAt time.Time
	openID    string
	phone     wirePhone
}

// IssueCloudID returns the cloudID that the mini-program of the user openid
// gets when the user shares p. It can be used more than once for five minutes.
// If p has no watermark, it gets one as in [Server.IssueCode].
func (s *Server) IssueCloudID(openid string, p wxphone.PhoneInfo) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	raw := make([]byte, 48)
	random(raw)
	id := "86_" + base64.RawURLEncoding.EncodeToString(raw)
	s.cloudIDs[id] = &cloudID{now.Add(codeLifetime), openid, s.wirePhone(p, now)}
	return id
}

// openData is the result for one cloudID. The errcode of the whole answer does
// not depend on it.
type openData struct {
	CloudID string     `json:"cloudID"`
	Data    *wirePhone `json:"data,omitempty"`
	ErrCode int        `json:"errCode,omitempty"`
	ErrMsg  string     `json:"errMsg,omitempty"`
}

func (s *Server) serveGetOpenData(c *call) any {
	var body struct {
		CloudIDs []string `json:"cloudid_list"`
	}
	if refusal := c.decode(&body); refusal != nil {
		return refusal
	}
	if len(body.CloudIDs) == 0 {
		return c.reject(40097, "cloudid_list is empty")
	}
	openid := c.query.Get("openid")
	if openid == "" {
		return c.reject(40003, "the query has no openid")
	}

	type item struct {
		CloudID string `json:"cloud_id"`
		JSON    any    `json:"json"`
	}
	items := make([]item, 0, len(body.CloudIDs))
	for _, id := range body.CloudIDs {
		opened := s.openData(c, id, openid)
		if opened.ErrCode != 0 {
			// The call as a whole succeeds.
			c.reason = fmt.Sprintf("the cloudID %s: %s (%d)", id, opened.ErrMsg, opened.ErrCode)
		}
		data := mustEncode(opened)
		if s.cloudIDObjects {
			items = append(items, item{id, json.RawMessage(data)})
			continue
		}
		items = append(items, item{id, string(data)})
	}
	return struct {
		outcome
		DataList []item `json:"data_list"`
	}{success, items}
}

func (s *Server) openData(c *call, id, openid string) openData {
	issued, ok := s.cloudIDs[id]
	switch {
	case !ok:
		return openData{CloudID: id, ErrCode: -601005, ErrMsg: "cloudID is invalid"}
	case issued.openID != openid:
		return openData{CloudID: id, ErrCode: -601007, ErrMsg: "cloudID belongs to another user"}
	case !c.now.Before(issued.expiresAt):
		return openData{CloudID: id, ErrCode: -601006, ErrMsg: "cloudID expired"}
	default:
		return openData{CloudID: id, Data: &issued.phone}
	}
}
