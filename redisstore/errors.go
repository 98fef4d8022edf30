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

// invalid is the error of an argument that is of no use.
func invalid(problem string) error {
	return fmt.Errorf("redisstore: %w: %s", wxphone.ErrInvalidArgument, problem)
}

// failed is the error of a command that go-redis reported err for.
func failed(op string, err error) error {
	return fmt.Errorf("redisstore: %s: %w", op, withoutQuotes(err))
}

// reply is a server's error without what it quotes. It is a [redis.Error], so
// that redis.HasErrorPrefix works on it.
type reply string

func (r reply) Error() string { return string(r) }

// RedisError implements [redis.Error].
func (reply) RedisError() {}

// withoutQuotes remakes the errors that repeat what went over the wire: Redis
// quotes the arguments of a command that it does not know, and these can be a
// token (SET) or a password (HELLO); go-redis quotes an answer that it cannot
// parse, which can be a piece of a value. The others, from the network or a
// context, are as they were.
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
