package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/wxphone/wxphone"
)

// maxInput is more than any encryptedData.
const maxInput = 1 << 20

// sealed is what decrypt reads.
type sealed struct {
	SessionKey    string `json:"session_key"`
	EncryptedData string `json:"encryptedData"`
	IV            string `json:"iv"`
}

func (p *program) decrypt(_ context.Context, flags *flag.FlagSet, args []string) error {
	show := flags.Bool("show", false, "print the number in full")
	if _, err := p.parse(flags, args, 0); err != nil {
		if errors.Is(err, errHelped) {
			fmt.Fprintf(p.stdout, "\nStandard input: %s\n", wantedInput)
		}
		return helped(err)
	}
	appID, err := p.appID()
	if err != nil {
		return err
	}
	in, err := readSealed(p.stdin)
	if err != nil {
		return err
	}
	phone, err := wxphone.DecryptPhoneNumber(appID, wxphone.SessionKey(in.SessionKey), in.EncryptedData, in.IV)
	if errors.Is(err, wxphone.ErrDecrypt) {
		return fmt.Errorf("%w; or %s is another mini-program's", err, envAppID)
	}
	if err != nil {
		return err
	}
	p.print(phone, *show)
	return nil
}

const wantedInput = `{"session_key": "...", "encryptedData": "...", "iv": "..."}`

// checkSessionKey names a key that cannot be one. How long it is, is no secret.
func checkSessionKey(text string) error {
	key, err := base64.StdEncoding.DecodeString(text)
	switch {
	case err != nil:
		return wrongUse("decrypt: session_key is not base64")
	case len(key) != 16:
		return wrongUse("decrypt: session_key has %s, not 16", counted(len(key), "byte"))
	default:
		return nil
	}
}

// readSealed reads the input. Its errors quote no value.
func readSealed(r io.Reader) (in sealed, err error) {
	text, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	switch {
	case err != nil:
		return in, fmt.Errorf("standard input: %w", err)
	case len(text) > maxInput:
		return in, wrongUse("decrypt: standard input has more than %d bytes", maxInput)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var mistyped *json.UnmarshalTypeError
	switch err := decoder.Decode(&in); {
	case errors.As(err, &mistyped) && mistyped.Field != "":
		return in, wrongUse("decrypt: %s must be a string", mistyped.Field)
	case err != nil || decoder.More():
		return in, wrongUse("decrypt: standard input is not the JSON object %s", wantedInput)
	case in.SessionKey == "":
		return in, wrongUse("decrypt: session_key is missing from %s", wantedInput)
	case in.EncryptedData == "":
		return in, wrongUse("decrypt: encryptedData is missing from %s", wantedInput)
	case in.IV == "":
		return in, wrongUse("decrypt: iv is missing from %s", wantedInput)
	}
	return in, checkSessionKey(in.SessionKey)
}
