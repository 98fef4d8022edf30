package wxphone_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/wxphone/wxphone"
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
	// The appid, the token and the EncodingAESKey are in the platform's console.
	pushes, err := wxphone.NewPushReader(someComponentID, somePushToken, somePushKey)
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
			fmt.Println("redeem the code of", push.AuthorizerAppID)
		case wxphone.PushUnauthorized:
			fmt.Println("forget", push.AuthorizerAppID)
		}
		return nil
	}))

	for _, message := range []string{ticketMessage, authorizedMessage} { // from WeChat
		answer := httptest.NewRecorder()
		mux.ServeHTTP(answer, pushRequest(newPushSealer(), message))
		fmt.Println(answer.Code, answer.Body)
	}
	fmt.Println("a ticket is there:", row.ticket != "")
	// Output:
	// 200 success
	// redeem the code of wx0123456789abcdef
	// 200 success
	// a ticket is there: true
}

func ExamplePushReader_Read() {
	pushes, err := wxphone.NewPushReader(someComponentID, somePushToken, somePushKey)
	if err != nil {
		log.Fatal(err)
	}
	query, body := newPushSealer().seal(ticketMessage) // from WeChat

	push, err := pushes.Read(query, body)
	if err != nil {
		fmt.Println("answer", wxphone.HTTPStatus(err))
		return
	}
	fmt.Println(push)

	query.Set("msg_signature", "0000000000000000000000000000000000000000")
	_, err = pushes.Read(query, body)
	fmt.Println("answer", wxphone.HTTPStatus(err))
	// Output:
	// wxphone.Push(component_verify_ticket 2023-11-14T22:13:20Z)
	// answer 403
}
