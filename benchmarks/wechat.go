package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	appID       = "wx0123456789abcdef"
	appSecret   = "0123456789abcdef0123456789abcdef"
	accessToken = "61_kZ5nXUJ8oqWfQ0y3bR7dLhVtMgC2sEaP4xN6uTiYwSrDvBmFjKpHzGeQc9O1lAI8"
	phoneCode   = "e31968a7f94cc5ee25fafc2aef2773f0bb8c3937b22520eb8ee345274d00c144"
	number      = "13800000000"

	phonePath = "/wxa/business/getuserphonenumber"

	phoneAnswer = `{"errcode":0,"errmsg":"ok","phone_info":{"phoneNumber":"` + number + `","purePhoneNumber":"` + number + `",` +
		`"countryCode":"86","watermark":{"timestamp":1700000000,"appid":"` + appID + `"}}}`
	tokenAnswer = `{"access_token":"` + accessToken + `","expires_in":7200}`
	busyAnswer  = `{"errcode":-1,"errmsg":"system error"}`
)

// sealed is what a tap on the button gave before it gave codes, with the key
// that opens it.
type sealed struct {
	sessionKey, encryptedData, iv string
}

// sample is the vector S1 of ../testdata/vectors.json.
var sample = sealed{
	sessionKey: "AAECAwQFBgcICQoLDA0ODw==",
	iv:         "EBESExQVFhcYGRobHB0eHw==",
	encryptedData: "aLhedzo+Z6es5zW+YHo9snYC0yqzXTKggXNMQvhcyudkik75xObeE7YxlOkqVmhFK8f+LxhMgOYi9sTvM5HwmI782mFnqn3z" +
		"ZPlUfzWBBP/6qAGbf5iVZm6scZDBeHhAYxqAfDna3wjWIIw4JekkOgPqYRi5a1p2CbxrAzXBAOZMvs9LoF8ukdHuBs+IbJ3J" +
		"zDVGGDB3LlRR1b+PJx8SKA==",
}

// inMemory is a transport that answers by itself, so that only the contender's
// own work is timed.
type inMemory struct {
	tokenDelay time.Duration
	busy       bool         // no token is to be had
	tokens     atomic.Int64 // requests for one
}

func (m *inMemory) network() network { return network{client: &http.Client{Transport: m}} }

// RoundTrip implements http.RoundTripper.
func (m *inMemory) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		_, _ = io.Copy(io.Discard, req.Body)
		_ = req.Body.Close()
	}
	ctx := req.Context()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	answer := phoneAnswer
	if req.URL.Path != phonePath {
		m.tokens.Add(1)
		select {
		case <-time.After(m.tokenDelay):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		answer = tokenAnswer
		if m.busy {
			answer = busyAnswer
		}
	}
	return &http.Response{
		StatusCode:    http.StatusOK,
		Header:        http.Header{"Content-Type": {"application/json"}},
		Body:          io.NopCloser(strings.NewReader(answer)),
		ContentLength: int64(len(answer)),
		Request:       req,
	}, nil
}

// tlsServer is WeChat over loopback TLS.
type tlsServer struct {
	*httptest.Server
	connections atomic.Int64 // opened so far
}

// latency is what WeChat takes to answer with a phone number.
const latency = 20 * time.Millisecond

func newTLSServer(http2 bool) (*tlsServer, error) {
	certificate, err := trustedCertificate()
	if err != nil {
		return nil, err
	}
	s := &tlsServer{Server: httptest.NewUnstartedServer(http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != phonePath {
				_, _ = io.WriteString(w, tokenAnswer)
				return
			}
			time.Sleep(latency)
			_, _ = io.WriteString(w, phoneAnswer)
		}))}
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.connections.Add(1)
		}
	}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // connections closed in mid-handshake
	s.EnableHTTP2 = http2
	s.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	return s, nil
}

// trustedCertificate returns the certificate of every server here and makes the
// process trust it, and nothing else. So no contender's transport needs other
// settings than its own. The key is of the kind that makes a handshake
// cheapest, for the sake of contenders that make many.
var trustedCertificate = sync.OnceValues(func() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	x509.SetFallbackRoots(roots)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
})
