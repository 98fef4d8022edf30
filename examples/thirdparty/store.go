package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"time"

	_ "modernc.org/sqlite" // registers the driver
)

// schema has a row for the platform, and one for each mini-program that has
// authorised it. Times are WeChat's, in Unix seconds. All of it is secret.
const schema = `
CREATE TABLE IF NOT EXISTS tickets (
	component_appid TEXT PRIMARY KEY,
	ticket          TEXT NOT NULL,
	created_at      INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS authorizations (
	authorizer_appid TEXT PRIMARY KEY,
	refresh_token    TEXT NOT NULL,
	authorized_at    INTEGER NOT NULL
);`

// store is the database. Each of its methods is one statement, so that no other
// process sees half of what it does. It implements wxphone.RefreshTokens.
type store struct{ db *sql.DB }

func openStore(ctx context.Context, path string) (*store, error) {
	pragmas := url.Values{"_pragma": {"busy_timeout(500)", "journal_mode(WAL)", "synchronous(FULL)"}}
	db, err := sql.Open("sqlite", "file:"+path+"?"+pragmas.Encode())
	if err != nil {
		return nil, err
	}
	if _, err := db.ExecContext(ctx, schema); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &store{db}, nil
}

func (s *store) close() { _ = s.db.Close() }

// saveTicket keeps a ticket unless there is a newer one: pushes may come late,
// twice, or from somebody who recorded them.
func (s *store) saveTicket(ctx context.Context, componentAppID, ticket string, createdAt time.Time) error {
	_, err := s.db.ExecContext(ctx, `
INSERT INTO tickets (component_appid, ticket, created_at) VALUES (?, ?, ?)
ON CONFLICT (component_appid) DO UPDATE SET ticket = excluded.ticket, created_at = excluded.created_at
WHERE excluded.created_at > tickets.created_at`,
		componentAppID, ticket, createdAt.Unix())
	return err
}

// latestTicket returns "" if none was pushed yet.
func (s *store) latestTicket(ctx context.Context, componentAppID string) (ticket string, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT ticket FROM tickets WHERE component_appid = ?`, componentAppID).Scan(&ticket)
	return ticket, ignoreNoRows(err)
}

// saveAuthorization begins an authorisation, or replaces an older one.
func (s *store) saveAuthorization(ctx context.Context, appID, refreshToken string, authorizedAt time.Time) error {
	_, err := s.db.ExecContext(ctx, `
INSERT INTO authorizations (authorizer_appid, refresh_token, authorized_at) VALUES (?, ?, ?)
ON CONFLICT (authorizer_appid) DO UPDATE SET refresh_token = excluded.refresh_token, authorized_at = excluded.authorized_at
WHERE excluded.authorized_at >= authorizations.authorized_at`,
		appID, refreshToken, authorizedAt.Unix())
	return err
}

// deleteAuthorization ends an authorisation that is not newer than the news of
// its end. It reports whether there was one.
func (s *store) deleteAuthorization(ctx context.Context, appID string, withdrawnAt time.Time) (deleted bool, err error) {
	result, err := s.db.ExecContext(ctx,
		`DELETE FROM authorizations WHERE authorizer_appid = ? AND authorized_at <= ?`, appID, withdrawnAt.Unix())
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

// LoadRefreshToken returns "" for a mini-program that has not authorised the
// platform.
func (s *store) LoadRefreshToken(ctx context.Context, appID string) (refreshToken string, err error) {
	err = s.db.QueryRowContext(ctx,
		`SELECT refresh_token FROM authorizations WHERE authorizer_appid = ?`, appID).Scan(&refreshToken)
	return refreshToken, ignoreNoRows(err)
}

// SaveRefreshToken changes a row and makes none: a refresh that ends after the
// owner withdrew does not bring the authorisation back.
func (s *store) SaveRefreshToken(ctx context.Context, appID, refreshToken string) error {
	_, err := s.db.ExecContext(ctx,
		`UPDATE authorizations SET refresh_token = ? WHERE authorizer_appid = ?`, refreshToken, appID)
	return err
}

func ignoreNoRows(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
}
