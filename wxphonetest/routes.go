package wxphonetest

import "net/http"

// route is how one API is called and who answers.
type route struct {
	method      string
	contentType string
	token       tokenKind
	// serve answers; it runs with the Server's mutex held.
	serve func(*Server, *call) any
}

// tokenKind is which access_token the query of an API carries.
type tokenKind int

const (
	noToken tokenKind = iota
	appToken
	anyToken // a mini-program's or the platform's
)

// WeChat names its Content-Types in several ways.
const (
	typeText     = "text/plain"
	typeJSON     = "application/json; charset=UTF-8"
	typeEncoding = "application/json; encoding=utf-8"
)

// routes is filled by init, as some of its functions look into it.
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
		pathComponentCode2Session: {http.MethodGet, typeText, noToken, (*Server).serveComponentCode2Session},
	}
}
