package redisstore

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/wxphone/wxphone"
)

var errNotRedis = errors.New("the answer is not in Redis's protocol")

// invalid returns an error that matches wxphone.ErrInvalidArgument.
func invalid(problem string) error {
	return fmt.Errorf("redisstore: %w: %s", wxphone.ErrInvalidArgument, problem)
}

// failed returns the error of a command for which go-redis returned err.
func failed(op string, err error) error {
	return fmt.Errorf("redisstore: %s: %w", op, withoutQuotes(err))
}

// reply is a server's error without quoted text. It implements [redis.Error],
// so that redis.HasErrorPrefix works with it.
type reply string

func (r reply) Error() string { return string(r) }

// RedisError implements [redis.Error].
func (reply) RedisError() {}

// withoutQuotes removes what errors quote of the data on the connection. Redis
// quotes the arguments of an unknown command, which can be a token (SET) or a
// password (HELLO). go-redis quotes an answer that it cannot parse, which can
// be part of a value. Errors of the network and of contexts are returned
// unchanged.
func withoutQuotes(err error) error {
	var (
		answer  redis.Error
		network net.Error
		number  *strconv.NumError
	)
	switch {
	case errors.As(err, &answer):
		text := answer.Error()
		if i := strings.IndexAny(text, "'`\","); i >= 0 {
			text = strings.TrimSpace(text[:i]) + " …"
		}
		return reply(text)
	case errors.As(err, &network):
		return err
	case errors.As(err, &number), strings.HasPrefix(err.Error(), "redis: ") && strings.ContainsRune(err.Error(), '"'):
		return errNotRedis
	}
	return err
}
