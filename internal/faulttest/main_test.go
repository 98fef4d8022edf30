// The tests use the transport that users get. It reads the system's
// authorities, so those are replaced as a whole.
//go:debug x509usefallbackroots=1

package faulttest

import (
	"crypto/x509"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"testing"
)

const (
	phonePath  = "/wxa/business/getuserphonenumber"
	loginPath  = "/sns/jscode2session"
	stablePath = "/cgi-bin/stable_token"
)

func TestMain(m *testing.M) {
	// Package net/http reads these once; a proxy would hide every fault.
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		os.Unsetenv(name)
	}
	// These tests wait far more than they compute.
	flag.Parse()
	if err := flag.Set("test.parallel", "32"); err != nil {
		panic(err)
	}
	trustTestServers()
	stop, err := answerNamesOnLoopback()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	stop()
	if err := findLeaks(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// trustTestServers makes the certificate that all httptest servers share the
// only authority of this process.
func trustTestServers() {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	x509.SetFallbackRoots(roots)
}
