package faulttest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
)

// behind returns a client of f that asks primary first and has no retries, so
// that nothing but the fallback can save a call.
func behind(t *testing.T, primary string, f *front) *wxphone.Client {
	t.Helper()
	client, err := wxphone.New(f.fake.AppID(), f.fake.Secret(), wxphone.WithMaxRetries(0),
		wxphone.WithBaseURL(primary), wxphone.WithFallbackURLs(f.URL))
	require.NoError(t, err)
	return client
}

func TestHandshakeThatFailsSendsTheCallToTheFallback(t *testing.T) {
	checkLeaks(t)
	for name, broken := range brokenHandshakes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			primary, fallback := newFront(t), newFront(t)
			primary.greet(broken, broken)
			client := behind(t, primary.URL, fallback)
			var books ledger
			books.redeem(context.Background(), t, fallback.fake, client)
			books.redeem(context.Background(), t, fallback.fake, client)
			books.want(t, 2, 0, 0)
			assert.Equal(t, 1, primary.connections(), "the second call knows better")
			primary.requireIdle(t)
			fallback.requireIdle(t)
		})
	}
}

func TestUnknownAuthorityIsNotRetriedButSendsTheCallToTheFallback(t *testing.T) {
	checkLeaks(t)
	primary, fallback := newFront(t), newFront(t)
	primary.server.TLS.Certificates = []tls.Certificate{selfSigned(t)}
	var books ledger
	books.redeem(context.Background(), t, fallback.fake, behind(t, primary.URL, fallback))
	books.want(t, 1, 0, 0)
	assert.Equal(t, 1, primary.connections())

	_, err := primary.client(t).AccessToken(context.Background())
	var untrusted *tls.CertificateVerificationError
	require.ErrorAs(t, err, &untrusted)
	assert.Equal(t, http.StatusBadGateway, wxphone.HTTPStatus(err))
	assert.Equal(t, 2, primary.connections())
}

// selfSigned returns a certificate of an authority that nobody knows.
func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestNameThatDoesNotResolveSendsTheCallToTheFallback(t *testing.T) {
	checkLeaks(t)
	for _, name := range []string{unknownName, brokenName} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t)
			var books ledger
			books.redeem(context.Background(), t, f.fake, behind(t, "https://"+name, f))
			books.want(t, 1, 0, 0)
			f.requireIdle(t)
		})
	}
}

func TestNamesThatDoNotResolveAreATypedError(t *testing.T) {
	checkLeaks(t)
	client, err := wxphone.New("wx1", "secret", wxphone.WithMaxRetries(1),
		wxphone.WithBaseURL("https://"+unknownName), wxphone.WithFallbackURLs("https://"+brokenName))
	require.NoError(t, err)
	_, err = client.GetPhoneNumber(context.Background(), "code")
	var dns *net.DNSError
	require.ErrorAs(t, err, &dns)
	assert.True(t, dns.IsNotFound, "the primary's comes first")
	assert.ErrorContains(t, err, unknownName)
	assert.ErrorContains(t, err, brokenName)
	assert.Equal(t, http.StatusBadGateway, wxphone.HTTPStatus(err))
}

func TestPrimaryThatVanishesSendsTheNextCallToTheFallback(t *testing.T) {
	checkLeaks(t)
	primary, fallback := newFront(t), newFront(t)
	// One retry, for a call that still takes the connection that is closing.
	client := primary.warmClient(t, wxphone.WithFallbackURLs(fallback.URL), wxphone.WithMaxRetries(1))
	assert.Equal(t, 1, primary.fake.TokenFetches())
	primary.server.CloseClientConnections()
	primary.server.Close() // from now on it refuses connections

	// The token is the primary's fake's, so the fallback's has another made.
	var books ledger
	books.redeem(context.Background(), t, fallback.fake, client)
	books.want(t, 1, 0, 0)
	fallback.requireIdle(t)
}

// An answer that is lost may have had its effect, so another host must not be
// tried with the same code as if nothing had happened.
func TestLostAnswerOverASocketIsNotTakenToTheFallback(t *testing.T) {
	checkLeaks(t)
	primary, fallback := newFront(t), newFront(t)
	client := behind(t, primary.URL, fallback)
	_, err := client.AccessToken(context.Background())
	require.NoError(t, err)
	primary.next(phonePath, resetAfter)
	var books ledger
	err = books.redeem(context.Background(), t, primary.fake, client)
	require.Error(t, err)
	assert.Equal(t, http.StatusBadGateway, wxphone.HTTPStatus(err))
	books.want(t, 0, 1, 0)
	assert.Zero(t, fallback.connections())
}
