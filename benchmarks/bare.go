package main

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// newBare is the least that one could write by hand on the standard library:
// the access_token is a constant, nothing is retried, and only that is checked
// which is needed to get at the number.
func newBare(n network) contender {
	if n.client == nil {
		// A pool of its own with net/http's defaults: http.DefaultTransport's
		// serves silenceper/wechat.
		n.client = &http.Client{Transport: defaultTransport()}
	}
	if n.baseURL == "" {
		n.baseURL = weChatURL
	}
	return contender{
		name:    nameBare,
		decrypt: decryptBare,
		phone: func(ctx context.Context, code string) (string, error) {
			return phoneBare(ctx, n, code)
		},
	}
}

// defaultTransport returns another transport with net/http's defaults.
func defaultTransport() *http.Transport {
	return http.DefaultTransport.(*http.Transport).Clone()
}

type phoneInfo struct {
	PhoneNumber     string `json:"phoneNumber"`
	PurePhoneNumber string `json:"purePhoneNumber"`
	CountryCode     string `json:"countryCode"`
	Watermark       struct {
		AppID     string `json:"appid"`
		Timestamp int64  `json:"timestamp"`
	} `json:"watermark"`
}

var errAnotherApp = errors.New("data of another appid")

func decryptBare(s sealed) (string, error) {
	key, err := base64.StdEncoding.DecodeString(s.sessionKey)
	if err != nil {
		return "", err
	}
	iv, err := base64.StdEncoding.DecodeString(s.iv)
	if err != nil {
		return "", err
	}
	data, err := base64.StdEncoding.DecodeString(s.encryptedData)
	if err != nil {
		return "", err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return "", err
	}
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(data, data)
	padding := int(data[len(data)-1])
	var info phoneInfo
	if err := json.Unmarshal(data[:len(data)-padding], &info); err != nil {
		return "", err
	}
	if info.Watermark.AppID != appID {
		return "", errAnotherApp
	}
	return info.PurePhoneNumber, nil
}

func phoneBare(ctx context.Context, n network, code string) (string, error) {
	body, err := json.Marshal(map[string]string{"code": code})
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost,
		n.baseURL+phonePath+"?access_token="+accessToken, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := n.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	var answer struct {
		ErrCode   int       `json:"errcode"`
		ErrMsg    string    `json:"errmsg"`
		PhoneInfo phoneInfo `json:"phone_info"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return "", err
	}
	if answer.ErrCode != 0 {
		return "", fmt.Errorf("errcode %d: %s", answer.ErrCode, answer.ErrMsg)
	}
	return answer.PhoneInfo.PurePhoneNumber, nil
}
