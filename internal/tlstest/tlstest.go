// Package tlstest serves tests over loopback TLS and counts the connections.
package tlstest

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/wxphone/wxphone/internal/transport"
)

// NewServer serves handler over loopback TLS and counts the connections. The
// returned client is the default one, but for trusting the server.
func NewServer(tb testing.TB, handler http.Handler) (server *httptest.Server, client *http.Client, connections *atomic.Int32) {
	tb.Helper()
	server = httptest.NewUnstartedServer(handler)
	connections = CountConnections(server)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // connections closed in mid-handshake
	server.StartTLS()
	tb.Cleanup(server.Close)
	own := *transport.DefaultClient().HTTP()
	pool := own.Transport.(*http.Transport).Clone()
	pool.TLSClientConfig.RootCAs = server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	tb.Cleanup(pool.CloseIdleConnections)
	own.Transport = pool
	return server, &own, connections
}

// CountConnections counts the connections to a server that was not started yet.
func CountConnections(server *httptest.Server) *atomic.Int32 {
	connections := new(atomic.Int32)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	return connections
}
