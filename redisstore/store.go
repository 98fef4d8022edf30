package redisstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"time"

	"github.com/bsm/redislock"
	"github.com/redis/go-redis/v9"

	"github.com/wxphone/wxphone"
)

// Store is a [wxphone.TokenStore], [wxphone.DuplicateStore] and
// [wxphone.TokenLocker] in Redis. It is safe for concurrent use by multiple goroutines. fmt does not print its
// content.
type Store struct {
	client redis.UniversalClient
	locks  *redislock.Client
	prefix string
	// schemes are the accepted formats of values. New values are written in the
	// first.
	schemes []scheme
}

var (
	_ wxphone.TokenStore     = (*Store)(nil)
	_ wxphone.DuplicateStore = (*Store)(nil)
	_ wxphone.TokenLocker    = (*Store)(nil)
)

// New returns a Store that uses client, which may be a *redis.Client, a
// *redis.ClusterClient or a *redis.Ring. New does not connect, and the Store
// never closes client. The error matches [wxphone.ErrInvalidArgument] if client
// or an option is nil, or an option is not valid.
func New(client redis.UniversalClient, opts ...Option) (*Store, error) {
	if v := reflect.ValueOf(client); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return nil, invalid("New has a nil client")
	}
	o, err := newOptions(opts)
	if err != nil {
		return nil, err
	}
	return &Store{client: client, locks: redislock.New(client), prefix: o.prefix, schemes: o.schemes()}, nil
}

// Format implements [fmt.Formatter]. No verb prints the keys or the client's
// password.
func (s *Store) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "redisstore.Store") }

// Load implements [wxphone.TokenStore]. If there is a value that cannot be
// read, the error wraps [wxphone.ErrTokenNotFound] and states the reason.
func (s *Store) Load(ctx context.Context, key string) (wxphone.Token, error) {
	name := s.prefix + key
	value, err := s.client.Get(ctx, name).Result()
	switch {
	case errors.Is(err, redis.Nil):
		return wxphone.Token{}, wxphone.ErrTokenNotFound
	case redis.HasErrorPrefix(err, "WRONGTYPE"):
		err = errWrongType // a miss, because Save replaces the value
	case err != nil:
		return wxphone.Token{}, failed("load", err)
	}
	var token wxphone.Token
	if err == nil {
		token, err = decode(s.schemes, name, value)
	}
	if err != nil {
		return wxphone.Token{}, fmt.Errorf("redisstore: the value of %q %w: %w", name, err, wxphone.ErrTokenNotFound)
	}
	// Redis uses its own clock and deletes a key up to a millisecond late.
	if !time.Now().Before(token.ExpiresAt) {
		return wxphone.Token{}, wxphone.ErrTokenNotFound
	}
	return token, nil
}

// Save implements [wxphone.TokenStore]. If token has expired, Save deletes the
// stored token. The error matches [wxphone.ErrInvalidArgument] if token has no
// value or no expiry.
func (s *Store) Save(ctx context.Context, key string, token wxphone.Token) error {
	if token.AccessToken == "" || token.ExpiresAt.IsZero() {
		return invalid("Save needs a token and its expiry")
	}
	name := s.prefix + key
	life := time.Until(token.ExpiresAt)
	if life <= 0 {
		if err := s.client.Del(ctx, name).Err(); err != nil {
			return failed("save", err)
		}
		return nil
	}
	value, err := s.schemes[0].encode(name, token)
	if err != nil {
		return err
	}
	// A duration and not a time, because the server's clock may be wrong.
	if err := s.client.Set(ctx, name, value, wholeMillis(life)).Err(); err != nil {
		return failed("save", err)
	}
	return nil
}

// deleteIf deletes KEYS[1] if its value starts with one of ARGV. The start is
// enough, because it contains the fingerprint of the token. The rest differs
// each time a token is encrypted.
var deleteIf = redis.NewScript(`
local value = redis.pcall("get", KEYS[1])
if type(value) == "table" and value.err and not string.find(value.err, "WRONGTYPE", 1, true) then
	return value
end
if type(value) ~= "string" then
	return 0
end
for _, header in ipairs(ARGV) do
	if string.sub(value, 1, #header) == header then
		return redis.call("del", KEYS[1])
	end
end
return 0`)

// DeleteIf implements [wxphone.TokenStore] with one Lua script.
func (s *Store) DeleteIf(ctx context.Context, key, accessToken string) error {
	name := s.prefix + key
	headers := make([]any, 0, len(s.schemes))
	for _, scheme := range s.schemes {
		headers = append(headers, scheme.header(name, accessToken))
	}
	if err := deleteIf.Run(ctx, s.client, []string{name}, headers...).Err(); err != nil {
		return failed("delete", err)
	}
	return nil
}

// wholeMillis rounds d up to whole milliseconds, the unit of Redis. 0 would
// mean no expiry in one command and an error in another.
func wholeMillis(d time.Duration) time.Duration {
	if rest := d % time.Millisecond; rest != 0 {
		d += time.Millisecond - rest
	}
	return d
}
