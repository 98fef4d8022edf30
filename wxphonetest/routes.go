package wxphonetest

import "net/http"

// route describes how an API is called and which function answers.
type route struct {
	method      string
	contentType string
	token       tokenKind
	// serve returns the answer. It is called with the Server's mutex held.
	serve func(*Server, *call) any
}

// tokenKind is the kind of access_token that an API requires.
type tokenKind int

const (
	noToken tokenKind = iota
	appToken
	anyToken // a mini-program's or the platform's
)

// WeChat uses several Content-Types for JSON.
const (
	typeText     = "text/plain"
	typeJSON     = "application/json; charset=UTF-8"
	typeEncoding = "application/json; encoding=utf-8"
)

// routes is set by init, because some of its functions use it.
var routes map[string]route

func init() {
	routes = map[string]route{
		pathClassicToken:        {http.MethodGet, typeEncoding, noToken, (*Server).serveClassicToken},
		pathStableToken:         {http.MethodPost, typeEncoding, noToken, (*Server).serveStableToken},
		pathPhoneNumber:         {http.MethodPost, typeEncoding, appToken, (*Server).servePhoneNumber},
		pathCode2Session:        {http.MethodGet, typeText, noToken, (*Server).serveCode2Session},
		pathCheckSession:        {http.MethodGet, typeJSON, appToken, (*Server).serveCheckSession},
		pathResetUserSessionKey: {http.MethodGet, typeJSON, appToken, (*Server).serveResetUserSessionKey},
		pathCheckEncryptedMsg:   {http.MethodPost, typeJSON, appToken, (*Server).serveCheckEncryptedMsg},
		pathGetOpenData:         {http.MethodPost, typeJSON, appToken, (*Server).serveGetOpenData},

		pathGetQuota:     {http.MethodPost, typeJSON, anyToken, (*Server).serveGetQuota},
		pathClearOne:     {http.MethodPost, typeJSON, anyToken, (*Server).serveClearOne},
		pathClearQuota:   {http.MethodPost, typeJSON, anyToken, (*Server).serveClearQuota},
		pathClearQuotaV2: {http.MethodPost, typeJSON, noToken, (*Server).serveClearQuotaV2},
		pathGetRID:       {http.MethodPost, typeJSON, anyToken, (*Server).serveGetRID},

		pathComponentToken:        {http.MethodPost, typeJSON, noToken, (*Server).serveComponentToken},
		pathAuthorizerToken:       {http.MethodPost, typeJSON, noToken, (*Server).serveAuthorizerToken},
		pathPreAuthCode:           {http.MethodPost, typeJSON, noToken, (*Server).servePreAuthCode},
		pathQueryAuth:             {http.MethodPost, typeJSON, noToken, (*Server).serveQueryAuth},
		pathAuthorizerList:        {http.MethodPost, typeJSON, noToken, (*Server).serveAuthorizerList},
		pathStartTicketPush:       {http.MethodPost, typeJSON, noToken, (*Server).serveStartTicketPush},
		pathComponentCode2Session: {http.MethodGet, typeText, noToken, (*Server).serveComponentCode2Session},
	}
}
