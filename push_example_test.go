package wxphone_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"sync"
	"time"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// ticketRow stands for the row of your database that holds the ticket.
type ticketRow struct {
	mu        sync.Mutex
	ticket    string
	createdAt time.Time
}

// keep saves a ticket unless it has a newer one.
func (t *ticketRow) keep(push *wxphone.Push) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if push.CreatedAt.After(t.createdAt) {
		t.ticket, t.createdAt = push.Ticket, push.CreatedAt
	}
}

func ExamplePushReader_Handler() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	// The appid, the token and the EncodingAESKey are in the platform's console.
	pushes, err := wxphone.NewPushReader(wechat.ComponentAppID(), wechat.PushToken(), wechat.EncodingAESKey())
	if err != nil {
		log.Fatal(err)
	}
	var row ticketRow
	mux := http.NewServeMux()
	mux.Handle("/wechat/events", pushes.Handler(func(_ context.Context, push *wxphone.Push) error {
		switch push.InfoType {
		case wxphone.PushTicket:
			row.keep(push) // return the database's error: WeChat pushes again
		case wxphone.PushAuthorized, wxphone.PushUpdated:
			fmt.Println("exchange the code of", push.AuthorizerAppID)
		case wxphone.PushUnauthorized:
			fmt.Println("forget", push.AuthorizerAppID)
		}
		return nil
	}))

	wechat.PushTo("/wechat/events", mux)
	wechat.PushTicket()
	wechat.IssueAuthorizationCode("wx0123456789abcdef")
	fmt.Println("a ticket is there:", row.ticket != "")
	// Output:
	// exchange the code of wx0123456789abcdef
	// a ticket is there: true
}

// Read is for frameworks whose handlers are not an http.Handler.
func ExamplePushReader_Read() {
	wechat, err := wxphonetest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer wechat.Close()
	pushes, err := wxphone.NewPushReader(wechat.ComponentAppID(), wechat.PushToken(), wechat.EncodingAESKey())
	if err != nil {
		log.Fatal(err)
	}
	handle := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			return
		}
		query := r.URL.Query()
		push, err := pushes.Read(query, body)
		if err != nil {
			w.WriteHeader(wxphone.HTTPStatus(err))
			return
		}
		fmt.Println("keep the ticket:", push.InfoType == wxphone.PushTicket && push.Ticket != "")
		_, _ = io.WriteString(w, "success")

		query.Set("msg_signature", "0000000000000000000000000000000000000000")
		_, err = pushes.Read(query, body)
		fmt.Println("answer a forgery with", wxphone.HTTPStatus(err))
	}

	wechat.PushTo("/wechat/events", http.HandlerFunc(handle))
	wechat.PushTicket()
	// Output:
	// keep the ticket: true
	// answer a forgery with 403
}
