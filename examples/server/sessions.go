package main

import (
	"crypto/rand"
	"encoding/base64"
	"sync"
	"time"

	"github.com/wxphone/wxphone"
)

// sessionHeader carries the id of a session. wx.request keeps no cookies, so
// the mini-program sends the id by itself; and what is no cookie is not sent
// along by a page of somebody else's.
const sessionHeader = "X-Session"

const (
	// sessionLifetime has no counterpart at WeChat, which does not say how long
	// a session_key lives. A mini-program logs in whenever it starts.
	sessionLifetime = 2 * time.Hour
	sweepInterval   = time.Minute
)

// session is one login of one user.
type session struct {
	wxphone.Session
	expires time.Time
}

// sessions keeps logins in memory. A second process does not know them and a
// restart ends them: keep yours in a database or in Redis.
type sessions struct {
	mu    sync.Mutex
	byID  map[string]session
	sweep time.Time        // when to look for expired ones next
	now   func() time.Time // replaced by tests
}

func newSessions() *sessions {
	return &sessions{byID: make(map[string]session), now: time.Now}
}

// save keeps a login and returns its id, which cannot be guessed.
func (s *sessions) save(login wxphone.Session) (id string, err error) {
	random := make([]byte, 32)
	if _, err := rand.Read(random); err != nil {
		return "", err
	}
	id = base64.RawURLEncoding.EncodeToString(random)

	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if now.After(s.sweep) {
		for id, session := range s.byID {
			if !now.Before(session.expires) {
				delete(s.byID, id)
			}
		}
		s.sweep = now.Add(sweepInterval)
	}
	s.byID[id] = session{Session: login, expires: now.Add(sessionLifetime)}
	return id, nil
}

func (s *sessions) load(id string) (session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.byID[id]
	if !ok || !s.now().Before(found.expires) {
		return session{}, false
	}
	return found, true
}

func (s *sessions) remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, id)
}

// numbers keeps the users' numbers in memory, by openid. Keep yours in your
// database of users.
type numbers struct {
	mu       sync.Mutex
	byOpenID map[string]string
}

func newNumbers() *numbers { return &numbers{byOpenID: make(map[string]string)} }

func (n *numbers) save(openID string, phone *wxphone.PhoneInfo) {
	n.mu.Lock()
	defer n.mu.Unlock()
	number := phone.E164()
	if number == "" { // WeChat named no country, or a number that is not all digits
		number = phone.PhoneNumber
	}
	n.byOpenID[openID] = number
}

func (n *numbers) load(openID string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.byOpenID[openID]
}
