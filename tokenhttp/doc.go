// Package tokenhttp lets many programs share the access_token of one token
// server over HTTP.
//
// One program holds the AppSecret, calls WeChat from an address that is on the
// IP whitelist, and serves its token with [NewHandler]. All other programs take
// the token from there with [NewSource]:
//
//	source, err := tokenhttp.NewSource("https://tokens.internal/wechat", key)
//	…
//	client, err := wxphone.New(appID, "", wxphone.WithTokenSource(wxphone.CacheTokens(source)))
//
// A token that WeChat refuses is reported to the token server, which replaces
// it once, however many programs report it.
//
// Whoever has the key can call WeChat as the mini-program. Serve over TLS: a
// plain connection shows the key and the token to everybody on its way.
//
// # Protocol
//
// A program in another language asks the same URL. Every request carries the
// header "Authorization: Bearer " and the key.
//
// GET answers 200 with
//
//	{"access_token":"…","expires_in":7140}
//
// expires_in is the number of whole seconds that the token has left, so the
// clocks of the programs need not agree. It is absent if the expiry is not
// known; such a token is for one use.
//
// POST with {"access_token":"…"} in at most 4 KiB reports a token that WeChat
// refused. The answer is 204 if the report was taken. A token that has been
// replaced already is such a report too, and changes nothing.
//
// All other answers are failures:
//
//   - 401: no key, or another one.
//   - 400 and 413: a POST that cannot be read or is too long.
//   - 405: neither GET nor POST.
//   - 501: the server's source takes no reports.
//   - 503: there is no token now, and a later request may get one. Retry-After
//     has the seconds to wait where they are known.
//   - 502: there is no token until somebody mends the settings.
//
// The body of a 502 or a 503 is {"error":"no_token"}. If WeChat refused the
// server, it also has the errcode and the endpoint that answered it:
//
//	{"error":"no_token","errcode":40164,"endpoint":"/cgi-bin/stable_token"}
package tokenhttp
