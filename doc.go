// Package wxphone gets the phone numbers of WeChat mini-program users on the
// backend.
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
// Create one [Client] for each appid in a process and share it. It caches the
// access_token, replaces a token that WeChat rejects, and retries temporary
// failures: a code works only once, and the mini-program's owner pays for every
// tap.
//
// # Three ways to get a number
//
// [Client.GetPhoneNumber] redeems the code of the phone number button. Base
// libraries before 2.21.2 return encryptedData and iv instead: log the user in
// with [Client.Code2Session] before the tap, then call
// [Client.RevealPhoneNumber], or [DecryptPhoneNumber] to decrypt without a
// request. With cloud development, pass the cloudID to
// [Client.GetPhoneNumberByCloudID].
//
// # Errors
//
// An errcode from WeChat is an [APIError]. Match its cause with [errors.Is] and
// this package's Err variables, choose a reaction by [APIError.Kind], or answer
// the client with [HTTPStatus] and [NextStep]. An answer that is not WeChat's
// JSON is a [ResponseError].
//
// # Secrets
//
// Errors, log records and observed [Call] values contain no access_token,
// AppSecret, code, session_key or phone number. The types that hold them print
// masked.
//
// # Tests
//
// Package [github.com/wxphone/wxphone/wxphonetest] is a fake WeChat for tests
// of your own code.
package wxphone
