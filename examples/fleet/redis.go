package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// errNotOurRedis leaves out what would kill somebody else's Redis.
var errNotOurRedis = errors.New("it kills the redis-server, and -redis names one that is not this program's")

const noRedis = "there is no redis-server on PATH; install one (apt-get install redis-server, brew install redis) " +
	"or name a running one with -redis=redis://host:port/0"

// redisServer is a Redis that the fleet shares.
type redisServer struct {
	url    string
	server *exec.Cmd // nil if it is not this program's
	dir    string
}

// newRedis returns the Redis at url, or starts one that keeps nothing on disk.
func newRedis(ctx context.Context, url string) (*redisServer, error) {
	if url != "" {
		return &redisServer{url: url}, ping(ctx, url)
	}
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, errors.New(noRedis)
	}
	dir, err := os.MkdirTemp("", "wxphone-fleet-")
	if err != nil {
		return nil, err
	}
	port, err := freePort(ctx)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	r := &redisServer{url: fmt.Sprintf("redis://127.0.0.1:%d/0", port), dir: dir}
	r.server = exec.Command(path, //nolint:gosec,noctx // found on PATH on purpose; stop ends it
		"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir, "--save", "", "--appendonly", "no")
	if err := r.server.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := ping(ctx, r.url); err != nil {
		r.stop()
		return nil, fmt.Errorf("redis-server was started and does not answer: %w", err)
	}
	return r, nil
}

// kill ends the redis-server as a crash would.
func (r *redisServer) kill() error {
	if r.server == nil {
		return errNotOurRedis
	}
	if err := r.server.Process.Kill(); err != nil {
		return err
	}
	_ = r.server.Wait() // says that it was killed
	return nil
}

func (r *redisServer) stop() {
	if r.server != nil {
		_ = r.kill() // it may be dead already
		_ = os.RemoveAll(r.dir)
	}
}

// freePort returns a port that nobody listens on just now.
func freePort(ctx context.Context) (int, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return listener.Addr().(*net.TCPAddr).Port, listener.Close()
}

// ping waits for the Redis at url for a few seconds.
func ping(ctx context.Context, url string) error {
	options, err := redis.ParseURL(url)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	client := redis.NewClient(options)
	defer func() { _ = client.Close() }()
	for {
		err := client.Ping(ctx).Err()
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}
