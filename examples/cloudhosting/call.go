package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
)

// call stands for wx.cloud.callContainer: cloud hosting hands the request to
// the container and adds who the user is.
func call(ctx context.Context, handler http.Handler, openid, code string) (string, error) {
	body, err := json.Marshal(map[string]string{"code": code})
	if err != nil {
		return "", err
	}
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, "/phone", strings.NewReader(string(body)))
	if openid != "" {
		req.Header.Set("X-WX-OPENID", openid)
	}
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, req)
	if answer.Code != http.StatusOK {
		return "", fmt.Errorf("HTTP %d: %s", answer.Code, strings.TrimSpace(answer.Body.String()))
	}
	return answer.Body.String(), nil
}
