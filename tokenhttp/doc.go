// Package tokenhttp lets programs share the access_token of one token server
// over HTTP.
//
// One program has the AppSecret, calls WeChat from an address on the IP
// whitelist, and serves its token with [NewHandler]. All other programs get the
// token from it with [NewSource]:
//
//	source, err := tokenhttp.NewSource("https://tokens.internal/wechat", key)
//	…
//	client, err := wxphone.New(appID, "", wxphone.WithTokenSource(wxphone.CacheTokens(source)))
//
// When WeChat rejects a token, the programs report it to the token server,
// which replaces it once, however many programs report it.
//
// Anyone who has the key can call WeChat as the mini-program. Serve over TLS:
// without it, the key and the token can be read on the network.
//
// # Protocol
//
// A program in another language uses the same URL. Every request has the header
// "Authorization: Bearer " followed by the key.
//
// GET is answered with status 200 and
//
//	{"access_token":"…","expires_in":7140}
//
// expires_in is the number of whole seconds until the token expires, so the
// clocks of the programs need not agree. It is absent if the expiry is not
// known. Use such a token once.
//
// POST with {"access_token":"…"}, at most 4 KiB, reports a token that WeChat
// rejected. The answer is 204 if the report was accepted. A report about a
// token that has already been replaced is accepted too and changes nothing.
//
// All other answers are failures:
//
//   - 401: the key is missing or wrong.
//   - 400 and 413: a POST that cannot be read or is too long.
//   - 405: a method other than GET and POST.
//   - 501: the server's source does not accept reports.
//   - 503: there is no token now, and a later request may get one. Retry-After
//     has the number of seconds to wait, if it is known.
//   - 502: there is no token until the server's settings are corrected.
//
// The body of a 502 or 503 is {"error":"no_token"}. If WeChat rejected the
// server's request, it also has the errcode and the endpoint that returned it:
//
//	{"error":"no_token","errcode":40164,"endpoint":"/cgi-bin/stable_token"}
package tokenhttp
