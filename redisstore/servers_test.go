package redisstore_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone/redisstore"
)

// onEachServer runs a test on miniredis and on a real Redis: that of REDIS_URL,
// or else a redis-server of the test's own.
func onEachServer(t *testing.T, test func(t *testing.T, server *redis.Options)) {
	t.Helper()
	t.Run("miniredis", func(t *testing.T) {
		t.Parallel()
		test(t, &redis.Options{Addr: startMiniredis(t).Addr()})
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		if url := os.Getenv("REDIS_URL"); url != "" {
			server, err := redis.ParseURL(url)
			require.NoError(t, err)
			test(t, server)
			return
		}
		test(t, &redis.Options{Addr: startRedis(t).addr})
	})
}

// startMiniredis starts a miniredis whose clock goes, which it does not do by
// itself.
func startMiniredis(t *testing.T) *miniredis.Miniredis {
	t.Helper()
	server := miniredis.RunT(t)
	stop := make(chan struct{})
	var clock sync.WaitGroup
	clock.Add(1)
	go func() {
		defer clock.Done()
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		for last := time.Now(); ; {
			select {
			case now := <-ticker.C:
				server.FastForward(now.Sub(last))
				last = now
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop); clock.Wait() })
	return server
}

// newClient returns a go-redis client of its own connections.
func newClient(t *testing.T, server *redis.Options) *redis.Client {
	t.Helper()
	options := *server
	options.ContextTimeoutEnabled = true
	client := redis.NewClient(&options)
	t.Cleanup(func() { client.Close() })
	return client
}

// newPrefix returns a key prefix that nothing else uses, and whose keys go
// when the test ends: the server of REDIS_URL outlives it.
func newPrefix(t *testing.T, server *redis.Options) string {
	t.Helper()
	random := make([]byte, 8)
	_, err := rand.Read(random)
	require.NoError(t, err)
	prefix := "redisstore-test:" + hex.EncodeToString(random) + ":"
	client := newClient(t, server)
	t.Cleanup(func() {
		ctx := context.Background()
		for keys := client.Scan(ctx, 0, prefix+"*", 1000).Iterator(); keys.Next(ctx); {
			client.Del(ctx, keys.Val())
		}
	})
	return prefix
}

func newStore(t *testing.T, client redis.UniversalClient, opts ...redisstore.Option) *redisstore.Store {
	t.Helper()
	store, err := redisstore.New(client, opts...)
	require.NoError(t, err)
	return store
}

// redisProcess is a redis-server that a test can kill and start again.
type redisProcess struct {
	t      *testing.T
	addr   string
	args   []string
	cmd    *exec.Cmd
	output bytes.Buffer
}

// startRedis starts a redis-server that keeps nothing on disk. Without one on
// PATH the test is skipped, or fails if WXPHONE_REQUIRE_REDIS is set.
func startRedis(t *testing.T, args ...string) *redisProcess {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		const missing = "not tested on a real Redis: there is no redis-server on PATH"
		if os.Getenv("WXPHONE_REQUIRE_REDIS") != "" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	p := &redisProcess{t: t, args: args}
	t.Cleanup(p.kill)
	for range 5 { // somebody else may take the port before the server does
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		p.addr = listener.Addr().String()
		require.NoError(t, listener.Close())
		if p.start() {
			return p
		}
	}
	t.Fatalf("redis-server does not start: %s", p.output.String())
	return nil
}

// start reports whether the server answers. A killed one comes back empty.
func (p *redisProcess) start() bool {
	p.t.Helper()
	host, port, err := net.SplitHostPort(p.addr)
	require.NoError(p.t, err)
	p.output.Reset()
	p.cmd = exec.Command("redis-server", append([]string{
		"--bind", host, "--port", port, "--save", "", "--appendonly", "no", "--dir", p.t.TempDir(),
	}, p.args...)...)
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	require.NoError(p.t, p.cmd.Start())

	client := redis.NewClient(&redis.Options{Addr: p.addr, MaxRetries: -1})
	defer client.Close()
	for range 200 {
		if client.Ping(context.Background()).Err() == nil {
			return true
		}
		time.Sleep(20 * time.Millisecond)
	}
	p.kill()
	return false
}

// kill is kill -9.
func (p *redisProcess) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	p.cmd = nil
}
