package interop

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
)

// client is what all clients have in common. A call that a client does not have
// returns errNoCall.
type client interface {
	// Classic and Stable return the access_token of that kind.
	Classic() (string, error)
	Stable() (string, error)
	// Number redeems a code, with whatever token the client takes for it.
	Number(code string) (string, error)
	Login(code string) (session, error)
	Decrypt(key, encryptedData, iv string) (string, error)
	// Check asks checkencryptedmsg about the hash of encryptedData.
	Check(hash string) (bool, error)
}

type session struct {
	OpenID     string `json:"openid"`
	SessionKey string `json:"session_key"`
}

var errNoCall = errors.New("the client has no such call")

// settings are what a client is made with.
type settings struct{ baseURL, appID, secret string }

// errcodeOf returns the errcode that an error of a client tells, or 0.
func errcodeOf(err error) int {
	if err == nil {
		return 0
	}
	found := regexp.MustCompile(`(?i)errcode"?[=: ]+(-?\d+)`).FindStringSubmatch(err.Error())
	if found == nil {
		return 0
	}
	code, err := strconv.Atoi(found[1])
	if err != nil {
		return 0
	}
	return code
}

// outcome is a call's result as the table has it.
func outcome(err error) string {
	switch code := errcodeOf(err); {
	case errors.Is(err, errNoCall):
		return "no call"
	case err == nil:
		return "yes"
	case code != 0:
		return strconv.Itoa(code)
	default:
		return fmt.Sprintf("fails: %v", err)
	}
}
