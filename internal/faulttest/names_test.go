package faulttest

import (
	"context"
	"net"
	"strings"
)

// Names that fail to resolve, each in its way.
const (
	unknownName = "unknown.invalid" // there is no such name
	brokenName  = "broken.invalid"  // the name server fails
	silentName  = "silent.invalid"  // the name server does not answer
)

// answerNamesOnLoopback makes a name server of ours the process's only one, so
// that failures of DNS can be had without a network.
func answerNamesOnLoopback() (stop func(), err error) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	net.DefaultResolver = &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "udp", server.LocalAddr().String())
		},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		answerNames(server)
	}()
	return func() {
		server.Close()
		<-done
	}, nil
}

func answerNames(server net.PacketConn) {
	const noError, serverFailed, noSuchName = 0, 2, 3
	packet := make([]byte, 1500)
	for {
		n, from, err := server.ReadFrom(packet)
		if err != nil {
			return
		}
		code := byte(noError) // of an answer that holds no address
		switch name := queriedName(packet[:n]); {
		case strings.HasPrefix(name, silentName):
			continue
		case strings.HasPrefix(name, brokenName):
			code = serverFailed
		case strings.HasPrefix(name, unknownName):
			code = noSuchName
		}
		// The query with its two flag bytes changed is an answer to it.
		packet[2] |= 0x80
		packet[3] = 0x80 | code
		_, _ = server.WriteTo(packet[:n], from)
	}
}

// queriedName reads the name after the 12 bytes of a DNS message's header.
func queriedName(message []byte) string {
	var labels []string
	for at := 12; at < len(message) && message[at] != 0; {
		end := at + 1 + int(message[at])
		if end > len(message) {
			break
		}
		labels = append(labels, string(message[at+1:end]))
		at = end
	}
	return strings.ToLower(strings.Join(labels, "."))
}
