package transport_test

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// A success whose signature is missing or wrong may be anybody's, and the code
// may be gone.
func TestSecuredAnswerIsTakenWithItsSignatureOnly(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		alter func(*http.Response)
		taken bool
	}{
		"as it came": {func(*http.Response) {}, true},
		"unsigned, in the clear": {func(answer *http.Response) {
			answer.Header = http.Header{}
			answer.ContentLength = int64(len(success))
			answer.Body = io.NopCloser(bytes.NewReader([]byte(success)))
		}, false},
		"altered": {func(answer *http.Response) {
			answer.Body = io.NopCloser(io.MultiReader(answer.Body, bytes.NewReader([]byte(" "))))
			answer.ContentLength = -1
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := wxphonetest.NewServer(t, wxphonetest.WithAPISecurity())
			through := roundTrip(func(req *http.Request) (*http.Response, error) {
				answer, err := server.HTTPClient().Transport.RoundTrip(req)
				if err == nil && req.URL.Path == phoneAPI {
					tt.alter(answer)
				}
				return answer, err
			})
			client := server.NewClient(wxphone.WithHTTPClient(&http.Client{Transport: through}))
			info, err := client.GetPhoneNumber(context.Background(), server.IssueCode(aPhone))
			assert.Equal(t, 1, server.Requests(phoneAPI), "it will be no better the next time")
			if tt.taken {
				require.NoError(t, err)
				assert.Equal(t, aPhone.PhoneNumber, info.PhoneNumber)
				return
			}
			require.ErrorIs(t, err, wxphone.ErrAPISecurity)
			require.ErrorIs(t, err, wxphone.ErrCodeMaybeUsed)
		})
	}
}

// WeChat signs no refusal of what it could not read.
func TestUnsignedRefusalOfASecuredCallIsARefusal(t *testing.T) {
	t.Parallel()
	server := wxphonetest.NewServer(t, wxphonetest.WithAPISecurity())
	through := roundTrip(func(req *http.Request) (*http.Response, error) {
		if req.URL.Path == phoneAPI {
			return answerTo(req, `{"errcode":40029,"errmsg":"invalid code"}`), nil
		}
		return server.HTTPClient().Transport.RoundTrip(req)
	})
	client := server.NewClient(wxphone.WithHTTPClient(&http.Client{Transport: through}))
	_, err := client.GetPhoneNumber(context.Background(), someCode)
	require.ErrorIs(t, err, wxphone.ErrCodeInvalid)
	require.NotErrorIs(t, err, wxphone.ErrCodeMaybeUsed)
}

// kms is a key that is slow, or cannot be reached.
type kms struct {
	crypto.Signer
	sign func() error
}

func (k kms) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if err := k.sign(); err != nil {
		return nil, err
	}
	return k.Signer.Sign(rand, digest, opts)
}

func TestCallThatCannotBeSignedInTimeIsNotSent(t *testing.T) {
	t.Parallel()
	errDown := errors.New("the KMS is down")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, tt := range []struct {
		sign func() error
		want error
	}{
		{func() error { return errDown }, errDown},
		{func() error { cancel(); return nil }, context.Canceled},
	} {
		server := wxphonetest.NewServer(t, wxphonetest.WithAPISecurity())
		security := server.APISecurity()
		security.PrivateKey = kms{security.PrivateKey, tt.sign}
		_, err := server.NewClient(wxphone.WithAPISecurity(security)).GetPhoneNumber(ctx, server.IssueCode(aPhone))
		require.ErrorIs(t, err, tt.want)
		assert.ErrorContains(t, err, phoneAPI)
		assert.Zero(t, server.Requests(phoneAPI))
	}
}
