package faulttest

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
)

// link is the server's end of a TCP connection, below TLS.
type link struct {
	*net.TCPConn
	// dead is whether the peer is gone for good: what arrives is not read but
	// answered with a reset, as by a host that has rebooted.
	dead atomic.Bool
}

type linkKey struct{}

func linkOf(conn net.Conn) *link {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	return conn.(*link)
}

// reset ends the connection with a RST rather than in order.
func (l *link) reset() {
	_ = l.SetLinger(0)
	_ = l.Close()
}

// Read implements [net.Conn].
func (l *link) Read(p []byte) (int, error) {
	if l.dead.Load() && len(p) > 10 {
		p = p[:10]
	}
	n, err := l.TCPConn.Read(p)
	if l.dead.Load() && n > 0 {
		l.reset()
		return 0, errors.New("this peer is dead")
	}
	return n, err
}

// greeter is a listener that treats some connections ill.
type greeter struct {
	net.Listener
	front *front
}

// Accept implements [net.Listener].
func (g *greeter) Accept() (net.Conn, error) {
	for {
		conn, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		l := &link{TCPConn: conn.(*net.TCPConn)}
		if !g.front.receive(l) {
			return l, nil
		}
	}
}

// receive gives l to the next greeting, if there is one.
func (f *front) receive(l *link) (taken bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.greetings) == 0 {
		return false
	}
	greet := f.greetings[0]
	f.greetings = f.greetings[1:]
	f.opened++
	f.held++
	f.greeters.Add(1)
	go func() {
		defer f.greeters.Done()
		greet(f, l)
		_ = l.Close()
		f.mu.Lock()
		defer f.mu.Unlock()
		f.held--
	}()
	return true
}

// Greetings.

func resetAtOnce(_ *front, l *link) { l.reset() }

func closeAtOnce(*front, *link) {}

func readHello(l *link) { _, _ = l.TCPConn.Read(make([]byte, 4096)) }

func closeAfterHello(_ *front, l *link) { readHello(l) }

func resetAfterHello(_ *front, l *link) {
	readHello(l)
	l.reset()
}

// speakPlainHTTP is what a TLS client meets on the wrong port.
func speakPlainHTTP(_ *front, l *link) {
	readHello(l)
	_, _ = l.Write([]byte("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
}

// staySilent takes the connection and nothing more, until the client goes.
func staySilent(f *front, l *link) {
	unbound := make(chan struct{})
	go func() {
		defer close(unbound)
		buffer := make([]byte, 4096)
		for {
			if _, err := l.TCPConn.Read(buffer); err != nil {
				return
			}
		}
	}()
	select {
	case <-unbound:
	case <-f.ended.Done():
		_ = l.Close()
		<-unbound
	}
}

// Faults of the connection that a request came over.

// resetBefore and closeBefore leave the request without effect.
func resetBefore(a *arrival) {
	a.link.reset()
	panic(http.ErrAbortHandler)
}

func closeBefore(*arrival) { panic(http.ErrAbortHandler) }

// resetAfter and closeAfter lose the answer to a request that took effect.
func resetAfter(a *arrival) {
	a.process()
	resetBefore(a)
}

func closeAfter(a *arrival) {
	a.process()
	closeBefore(a)
}
