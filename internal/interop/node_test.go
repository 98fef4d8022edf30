package interop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// installed returns a directory with the scripts of testdata/node and the
// packages that they need, installed once.
func installed(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("npm"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("npm is missing")
		}
		t.Skip("npm is missing")
	}
	dir, err := install()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// scratch is a directory for all tests, which TestMain makes and removes.
var scratch string

var install = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(scratch, "node")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "node"))); err != nil {
		return "", err
	}
	npm := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return dir, nil
})

// node is a client in a node process, which reads calls and writes results, one
// to a line.
type node struct {
	in  io.Writer
	out *bufio.Scanner
	err *bytes.Buffer
}

// startNode runs the client of testdata/node/NAME.js.
func startNode(t *testing.T, name string, s settings, environment ...string) *node {
	t.Helper()
	dir := installed(t)
	cmd := exec.Command("node", "run.js", name)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), environment...)
	cmd.Env = append(cmd.Env, "BASE_URL="+s.baseURL, "APPID="+s.appID, "SECRET="+s.secret, "SCRATCH="+t.TempDir())
	n := &node{err: &bytes.Buffer{}}
	cmd.Stderr = n.err
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	n.in, n.out = in, bufio.NewScanner(out)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close() // ends the process
		if err := cmd.Wait(); err != nil {
			t.Errorf("node: %v\n%s", err, n.err.String())
		}
	})
	return n
}

// call makes one call and reads its result into value.
func (n *node) call(name string, value any, arguments ...string) error {
	line, err := json.Marshal(map[string]any{"call": name, "arguments": append([]string{}, arguments...)})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(n.in, "%s\n", line); err != nil {
		return err
	}
	if !n.out.Scan() {
		return fmt.Errorf("node ended: %s", n.err.String())
	}
	var result struct {
		Value  json.RawMessage `json:"value"`
		Error  *string         `json:"error"`
		NoCall bool            `json:"noCall"`
	}
	if err := json.Unmarshal(n.out.Bytes(), &result); err != nil {
		return fmt.Errorf("node wrote %q: %w", n.out.Text(), err)
	}
	switch {
	case result.NoCall:
		return errNoCall
	case result.Error != nil:
		return errors.New(*result.Error)
	default:
		return json.Unmarshal(result.Value, value)
	}
}

func (n *node) text(name string, arguments ...string) (text string, err error) {
	err = n.call(name, &text, arguments...)
	return text, err
}

func (n *node) Classic() (string, error)           { return n.text("classic") }
func (n *node) Stable() (string, error)            { return n.text("stable") }
func (n *node) Number(code string) (string, error) { return n.text("number", code) }

func (n *node) Login(code string) (s session, err error) {
	err = n.call("login", &s, code)
	return s, err
}

func (n *node) Decrypt(key, encryptedData, iv string) (string, error) {
	return n.text("decrypt", key, encryptedData, iv)
}

func (n *node) Check(hash string) (valid bool, err error) {
	err = n.call("check", &valid, hash)
	return valid, err
}
