package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func newStore(t *testing.T, path string) *store {
	t.Helper()
	rows, err := openStore(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(rows.close)
	return rows
}

func databaseFile(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "platform.db")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantTicket and wantToken look with another connection, as another process.
func wantTicket(t *testing.T, path, want string) {
	t.Helper()
	got, err := newStore(t, path).latestTicket(context.Background(), "wxc")
	if err != nil || got != want {
		t.Errorf("ticket: got %q, %v; want %q", got, err, want)
	}
}

func wantToken(t *testing.T, path, appID, want string) {
	t.Helper()
	got, err := newStore(t, path).LoadRefreshToken(context.Background(), appID)
	if err != nil || got != want {
		t.Errorf("refresh token of %s: got %q, %v; want %q", appID, got, err, want)
	}
}

func TestTicketIsReplacedByANewerOneOnly(t *testing.T) {
	ctx, path, at := context.Background(), databaseFile(t), time.Unix(1700000000, 0)
	rows := newStore(t, path)
	wantTicket(t, path, "")
	for _, push := range []struct {
		ticket string
		at     time.Time
		want   string
	}{
		{"first", at, "first"},
		{"recorded", at.Add(-time.Hour), "first"},
		{"of the same second", at, "first"},
		{"second", at.Add(10 * time.Minute), "second"},
		{"first", at, "second"},
	} {
		must(t, rows.saveTicket(ctx, "wxc", push.ticket, push.at))
		wantTicket(t, path, push.want)
	}
	must(t, rows.saveTicket(ctx, "wx of another platform", "other", at.Add(time.Hour)))
	wantTicket(t, path, "second")
}

func TestAuthorizationLastsUntilItIsWithdrawn(t *testing.T) {
	ctx, path, at := context.Background(), databaseFile(t), time.Unix(1700000000, 0)
	rows := newStore(t, path)
	must(t, rows.SaveRefreshToken(ctx, "wx1", "of nobody"))
	wantToken(t, path, "wx1", "")
	must(t, rows.saveAuthorization(ctx, "wx1", "first", at))
	must(t, rows.saveAuthorization(ctx, "wx2", "other", at))
	must(t, rows.saveAuthorization(ctx, "wx1", "late", at.Add(-time.Hour)))
	wantToken(t, path, "wx1", "first")
	must(t, rows.SaveRefreshToken(ctx, "wx1", "second"))
	wantToken(t, path, "wx1", "second")

	deleted, err := rows.deleteAuthorization(ctx, "wx1", at.Add(-time.Second))
	if deleted || err != nil {
		t.Errorf("an old push: got %v, %v", deleted, err)
	}
	wantToken(t, path, "wx1", "second")
	deleted, err = rows.deleteAuthorization(ctx, "wx1", at.Add(time.Second))
	if !deleted || err != nil {
		t.Errorf("a new push: got %v, %v", deleted, err)
	}
	must(t, rows.SaveRefreshToken(ctx, "wx1", "of a refresh that was under way"))
	wantToken(t, path, "wx1", "")
	wantToken(t, path, "wx2", "other")
}

// Several processes save at once. Each value is there whole, and none is lost.
func TestProcessesShareTheDatabase(t *testing.T) {
	ctx, path, at := context.Background(), databaseFile(t), time.Unix(1700000000, 0)
	var group sync.WaitGroup
	for process := range 4 {
		rows := newStore(t, path)
		group.Go(func() {
			for i := range 25 {
				appID := fmt.Sprintf("wx%d", i)
				token := strings.Repeat(fmt.Sprint(process), 40)
				for _, err := range []error{
					rows.saveAuthorization(ctx, appID, token, at),
					rows.SaveRefreshToken(ctx, appID, token),
					rows.saveTicket(ctx, "wxc", fmt.Sprint(i), at.Add(time.Duration(i)*time.Second)),
				} {
					if err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	group.Wait()
	wantTicket(t, path, "24")
	rows := newStore(t, path)
	for i := range 25 {
		token, err := rows.LoadRefreshToken(ctx, fmt.Sprintf("wx%d", i))
		if err != nil || len(token) != 40 || strings.Trim(token, token[:1]) != "" {
			t.Errorf("got %q, %v", token, err)
		}
	}
}

func TestDatabaseThatIsGoneIsAnError(t *testing.T) {
	ctx := context.Background()
	rows := newStore(t, databaseFile(t))
	rows.close()
	_, ticketErr := rows.latestTicket(ctx, "wxc")
	_, loadErr := rows.LoadRefreshToken(ctx, "wx1")
	_, deleteErr := rows.deleteAuthorization(ctx, "wx1", time.Now())
	for i, err := range []error{
		ticketErr, loadErr, deleteErr,
		rows.saveTicket(ctx, "wxc", "ticket", time.Now()), rows.saveAuthorization(ctx, "wx1", "token", time.Now()),
		rows.SaveRefreshToken(ctx, "wx1", "token"),
	} {
		if err == nil {
			t.Errorf("%d: no error", i)
		}
	}
}
