//go:build go1.25

package simulation_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

const (
	phonePath  = "/wxa/business/getuserphonenumber"
	stablePath = "/cgi-bin/stable_token"
)

const badGateway = "<html><h1>502 Bad Gateway</h1></html>"

var somebody = wxphone.PhoneInfo{PhoneNumber: "13800000000", PurePhoneNumber: "13800000000", CountryCode: "86"}

// processes returns n Clients that share nothing but the store.
func processes(server *wxphonetest.Server, n int, opts ...wxphone.Option) []*wxphone.Client {
	clients := make([]*wxphone.Client, n)
	for i := range clients {
		clients[i] = server.NewClient(opts...)
	}
	return clients
}

// callAll makes a call of every client at once and returns how many failed.
func callAll(t *testing.T, server *wxphonetest.Server, clients []*wxphone.Client) int {
	t.Helper()
	var group sync.WaitGroup
	var failed atomic.Int32
	for _, client := range clients {
		code := server.IssueCode(somebody)
		group.Go(func() {
			if _, err := client.GetPhoneNumber(t.Context(), code); err != nil {
				failed.Add(1)
				t.Log(err)
			}
		})
	}
	group.Wait()
	return int(failed.Load())
}
