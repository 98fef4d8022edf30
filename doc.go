// Package wxphone turns a WeChat mini-program user's consent into a phone
// number on the backend.
//
// Most users want [New] and [Client.GetPhoneNumber]:
//
//	client, err := wxphone.New(appID, secret)
//	...
//	info, err := client.GetPhoneNumber(ctx, code) // e.detail.code of the button
//	if err != nil {
//		http.Error(w, "no phone number", wxphone.HTTPStatus(err))
//		return
//	}
//	use(info.PurePhoneNumber)
//
// Make one [Client] per appid and process and share it. It caches the
// access_token, replaces one that WeChat refuses, and retries what may pass,
// because a code works only once and every tap costs the owner money.
//
// # Three ways to a number
//
// The button's code is redeemed with [Client.GetPhoneNumber]. Base libraries
// before 2.21.2 hand out encryptedData and iv instead: log the user in with
// [Client.Code2Session] before the tap, then use [Client.RevealPhoneNumber],
// or [DecryptPhoneNumber] without asking WeChat. With cloud development, a
// cloudID goes to [Client.GetPhoneNumberByCloudID].
//
// # Errors
//
// WeChat's errcodes are [APIError] values. Match their causes with
// [errors.Is] and this package's Err variables, decide by [APIError.Kind], or
// answer the client with [HTTPStatus] and [NextStep]. An answer that is not WeChat's JSON is
// a [ResponseError].
//
// # Secrets
//
// No error, log record or observed [Call] holds an access_token, AppSecret,
// code, session_key or phone number, and the types that hold them print
// masked.
//
// # Tests
//
// Package [github.com/wxphone/wxphone/wxphonetest] is a fake WeChat for tests
// of your own code.
package wxphone
