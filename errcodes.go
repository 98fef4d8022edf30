package wxphone

// meaning describes an errcode.
type meaning struct {
	kind    ErrorKind
	matches []error
	advice  string
}

// Paths of the WeChat APIs that this package calls.
const (
	pathGetUserPhoneNumber = "/wxa/business/getuserphonenumber"
	pathStableToken        = "/cgi-bin/stable_token"
	pathClassicToken       = "/cgi-bin/token"

	pathComponentToken        = "/cgi-bin/component/api_component_token"
	pathPreAuthCode           = "/cgi-bin/component/api_create_preauthcode"
	pathQueryAuth             = "/cgi-bin/component/api_query_auth"
	pathAuthorizerList        = "/cgi-bin/component/api_get_authorizer_list"
	pathStartTicketPush       = "/cgi-bin/component/api_start_push_ticket"
	pathAuthorizerToken       = "/cgi-bin/component/api_authorizer_token"
	pathComponentCode2Session = "/sns/component/jscode2session"

	pathCode2Session        = "/sns/jscode2session"
	pathCheckSession        = "/wxa/checksession"
	pathResetUserSessionKey = "/wxa/resetusersessionkey"
	pathCheckEncryptedMsg   = "/wxa/business/checkencryptedmsg"
	pathGetOpenData         = "/wxa/getopendata"
)

// Errcodes that this package also reports without asking WeChat.
const (
	errcodeTicketExpired = 61005
	errcodeRefreshToken  = 61023
)

var secretInvalid = meaning{KindMisconfigured, []error{ErrSecretInvalid},
	"the AppSecret is wrong or was reset; copy the current one from the mini-program console"}

func (e *APIError) meaning() meaning {
	known := meanings[e.Code]
	if known.kind == KindCodeRejected && e.isOfLogin() {
		known.advice = "let the mini-program call wx.login again and send its code; a code lives 5 minutes and works once"
	}
	// The token APIs need no access_token, so their 40001 is about the secret.
	if e.Code == 40001 {
		switch e.Endpoint {
		case pathStableToken, pathClassicToken, pathComponentToken, pathStartTicketPush:
			return secretInvalid
		}
	}
	return known
}

// isOfLogin reports whether e is the answer to a code of wx.login.
func (e *APIError) isOfLogin() bool {
	return e.Endpoint == pathCode2Session || e.Endpoint == pathComponentCode2Session
}

// Meanings that several errcodes share.
var (
	tokenRefused = meaning{KindTokenRejected, []error{ErrAccessToken},
		"the access_token was rejected; check whether another program forces a refresh of stable tokens, or fetches classic ones if you use those, whether the AppSecret was reset, and whether the token is of another appid"}
	codeRefused = meaning{KindCodeRejected, []error{ErrCodeInvalid},
		"ask the user to tap the button again and send e.detail.code; a code lives 5 minutes, works once, and only for the appid it was made for"}
	cloudIDRefused = meaning{KindCodeRejected, []error{ErrCodeInvalid},
		"ask the user to tap the button again; a cloudID lives 5 minutes and belongs to one openid"}
	ipRefused = meaning{KindMisconfigured, []error{ErrIPNotAllowed},
		"add this server's public IP address to the IP whitelist in the mini-program console"}
	ipPending = meaning{KindMisconfigured, []error{ErrIPNotAllowed},
		"the mini-program's administrator must confirm this server's IP address in WeChat"}
	sessionStale = meaning{KindSessionExpired, []error{ErrSessionExpired},
		"the session_key is no longer valid; let the mini-program call wx.login again"}
	securityRefused = meaning{KindMisconfigured, []error{ErrAPISecurity},
		"check WithAPISecurity against the keys and certificates in the console"}
	notGranted = meaning{KindMisconfigured, []error{ErrUnauthorized},
		"this account has not been granted the API, or the access_token is of another kind of account"}
	platformNotGranted = meaning{KindPlatform, []error{ErrUnauthorized},
		"the mini-program must authorise the platform again, with permission set 18"}
	accountClosed = meaning{KindMisconfigured, nil,
		"the account is restricted; see the notices in the mini-program console"}
	cloudHosting = meaning{KindMisconfigured, nil,
		"add the path to the whitelist of the open interface service in the cloud hosting console"}
	ticketStale = meaning{KindPlatform, nil,
		"wait for WeChat's next push of component_verify_ticket (every 10 minutes) and store it"}
	dailyQuota = meaning{KindQuotaExhausted, []error{ErrQuotaExhausted},
		"wait for the next day, or reset the quota with clear_quota"}
	badRequest = meaning{kind: KindInvalidRequest}
	busy       = meaning{KindTransient, []error{ErrSystemBusy}, "WeChat is busy; try again in a moment"}
)

// meanings follows WeChat's list of return codes,
// https://developers.weixin.qq.com/doc/oplatform/developers/errCode
var meanings = map[int]meaning{
	-1: busy,

	40001: tokenRefused,
	40014: tokenRefused,
	42001: tokenRefused,
	41001: {KindInvalidRequest, nil,
		"no access_token arrived; on cloud hosting, switch the open interface service on"},

	40002: badRequest,
	40003: {kind: KindInvalidRequest, advice: "the openid is not one of this mini-program's"},
	40013: {KindMisconfigured, []error{ErrAppIDMismatch},
		"the appid is wrong, or the code was made by another mini-program than the access_token's"},
	40029: codeRefused,
	40030: badRequest,
	40066: badRequest,
	40097: badRequest,
	40163: {KindCodeRejected, []error{ErrCodeUsed, ErrCodeInvalid},
		"the code was redeemed before; redeem each code once, and ask the user to tap again for a new one"},
	42003: codeRefused,

	40090: {kind: KindPlatform, advice: "the platform's IP address was not accepted; check the platform's IP whitelist"},
	40094: {kind: KindPlatform, advice: "the component_access_token was not accepted"},
	40125: secretInvalid,
	40164: ipRefused,
	45035: ipRefused,
	61004: ipRefused,
	48017: {kind: KindMisconfigured, advice: "the address of WeChat's server is retired; use host names, not IP addresses"},
	40222: {kind: KindMisconfigured, advice: "use another of WeChat's API domains"},
	40226: {KindUserBlocked, []error{ErrUserBlocked}, "WeChat blocks this user as high risk; do not retry"},
	40243: {KindMisconfigured, []error{ErrSecretInvalid}, "the AppSecret is frozen; unfreeze it in the mini-program console"},

	40230: securityRefused,
	40231: securityRefused,
	40232: {KindMisconfigured, []error{ErrAPISecurity},
		"the account has API security switched on; configure WithAPISecurity"},
	40233: securityRefused,
	40234: securityRefused,
	40235: securityRefused,
	40236: securityRefused,
	40237: securityRefused,
	40238: securityRefused,
	40239: securityRefused,
	40240: {KindMisconfigured, []error{ErrAPISecurity}, "this server's clock is off; set it by NTP"},

	41002: badRequest,
	41004: badRequest,
	41008: badRequest,
	41018: badRequest,
	43001: badRequest,
	43002: badRequest,
	43003: badRequest,
	44002: badRequest,
	45002: badRequest,
	47001: badRequest,
	47002: badRequest,

	45009: dailyQuota,
	45011: {KindRateLimited, []error{ErrRateLimited}, "the quota of this minute is used up; try again in the next one"},
	48006: {KindQuotaExhausted, []error{ErrQuotaExhausted}, "clear_quota is used up for this month"},

	48001: notGranted,
	50001: notGranted,
	48004: accountClosed,
	50002: accountClosed,
	50004: accountClosed,
	50007: accountClosed,

	61003: platformNotGranted,
	61007: platformNotGranted,
	61005: ticketStale,
	61006: ticketStale,
	61010: {kind: KindPlatform,
		advice: "the authorization_code expired or was exchanged before; if no refresh token was saved, read it with api_get_authorizer_list, or let the owner authorise again"},
	61011: {kind: KindPlatform, advice: "the component is not valid; check its appid and status"},
	61014: {kind: KindPlatform, advice: "the component_access_token does not fit this component"},
	61015: {kind: KindPlatform, advice: "the API cannot be used with the authorisation given to the component"},
	61023: {kind: KindPlatform,
		advice: "the refresh token is not valid; save the current one, which api_get_authorizer_list has, or let the owner authorise again"},
	61024: {kind: KindInvalidRequest, advice: "a component account must use api_component_token"},

	76001: badRequest,
	76002: badRequest,
	76003: badRequest,
	76004: badRequest,
	76021: badRequest,
	76022: badRequest,

	85105: cloudHosting,
	85107: cloudHosting,
	85112: cloudHosting,
	85113: cloudHosting,

	87007: sessionStale,
	87008: badRequest,
	87009: sessionStale,

	89501: ipPending,
	89502: ipPending,
	89503: ipPending,
	89504: ipPending,
	89505: ipPending,
	89506: {KindMisconfigured, []error{ErrIPNotAllowed}, "the administrator refused this server's IP address; ask again after 24 hours"},
	89507: {KindMisconfigured, []error{ErrIPNotAllowed}, "the administrator refused this server's IP address; ask again after an hour"},

	-601001: busy,
	-601002: badRequest,
	-601003: busy,
	-601004: notGranted,
	-601005: cloudIDRefused,
	-601006: cloudIDRefused,
	-601007: cloudIDRefused,
	-601008: busy,
	-601009: {KindUnknown, []error{ErrNoPhoneNumber}, "the user's WeChat account has no phone number"},
}
