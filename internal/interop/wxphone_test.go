package interop

import (
	"testing"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/internal/desktest"
)

func newWxphone(t *testing.T, fake *desktest.Fake, opts ...wxphone.Option) *wxphone.Client {
	t.Helper()
	client, err := wxphone.New(fake.AppID, fake.Secret, append(opts, wxphone.WithBaseURL(fake.URL))...)
	if err != nil {
		t.Fatal(err)
	}
	return client
}
