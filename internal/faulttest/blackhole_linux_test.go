package faulttest

import (
	"context"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// blackHole returns the address of a listener whose backlog is full: Linux then
// drops what arrives, as a firewall does.
func blackHole(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = syscall.Close(fd) })
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, syscall.Listen(fd, 0))
	bound, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	address := fmt.Sprintf("127.0.0.1:%d", bound.(*syscall.SockaddrInet4).Port)
	for range 64 {
		conn, err := net.DialTimeout("tcp", address, 300*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Skip("this kernel's backlog does not fill")
	return ""
}

func TestBlackHoleCostsOneWaitAndNoCode(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a connection in real time")
	}
	t.Parallel()
	f := newFront(t)
	client := behind(t, "https://"+blackHole(t), f)
	var books ledger
	begin := time.Now()
	for range 20 {
		books.redeem(context.Background(), t, f.fake, client)
	}
	took := time.Since(begin)
	books.want(t, 20, 0, 0)
	assert.GreaterOrEqual(t, took, 900*time.Millisecond, "it was no black hole")
	assert.Less(t, took, 1900*time.Millisecond, "more than one call has waited")
	f.requireIdle(t)
}
