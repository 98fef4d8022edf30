package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/silenceper/wechat/v2/credential"
	"github.com/silenceper/wechat/v2/util"
)

func TestEveryContenderDoesTheWork(t *testing.T) {
	server, err := newTLSServer(false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	for name, n := range map[string]network{
		"in memory":      new(inMemory).network(),
		"over TLS":       {baseURL: server.URL},
		"with a client":  {client: &http.Client{Transport: defaultTransport()}, baseURL: server.URL},
		"with a default": {client: new(inMemory).network().client},
	} {
		all, err := newContenders(n)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			if err := decryptOnce(c); err != nil {
				t.Error(name, err)
			}
			if err := phoneOnce(c); err != nil {
				t.Error(name, err)
			}
		}
	}
}

// TestNothingLeavesTheMachine: without a network of their own, the contenders
// would call WeChat.
func TestNothingLeavesTheMachine(t *testing.T) {
	if _, err := newContenders(network{}); err == nil {
		t.Error("contenders that would call WeChat")
	}
	if _, err := newContender("another", new(inMemory).network()); err == nil {
		t.Error("a contender that does not exist")
	}
}

func TestDefaultsAreLeftAlone(t *testing.T) {
	if _, err := newContender(nameSilenceper, network{baseURL: "https://127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	if util.DefaultHTTPClient != http.DefaultClient || http.DefaultClient.Transport != nil {
		t.Error("silenceper/wechat does not run on net/http's default client")
	}
	if got := defaultTransport().MaxIdleConnsPerHost; got != 0 {
		t.Errorf("the default transport has MaxIdleConnsPerHost %d", got)
	}
}

func TestSampleIsTheRepositorysVector(t *testing.T) {
	text, err := os.ReadFile("../testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Name          string `json:"name"`
		SessionKey    string `json:"session_key"`
		EncryptedData string `json:"encrypted_data"`
		IV            string `json:"iv"`
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	first := vectors[0]
	if !strings.HasPrefix(first.Name, "S1 ") || (sealed{first.SessionKey, first.EncryptedData, first.IV}) != sample {
		t.Error("the sample is not vector S1")
	}
}

// TestRevokedTokenInTheCache shows the remedy of silenceper/wechat's callers:
// to delete the entry of its cache.
func TestRevokedTokenInTheCache(t *testing.T) {
	c := new(syncCache)
	source := credential.NewDefaultAccessToken(appID, appSecret, credential.CacheKeyMiniProgramPrefix, c)
	wechat := new(inMemory)
	if _, err := newContender(nameSilenceper, wechat.network()); err != nil {
		t.Fatal(err)
	}
	for want := int64(1); want <= 2; want++ {
		for range 2 {
			if _, err := source.GetAccessToken(); err != nil {
				t.Fatal(err)
			}
		}
		if got := wechat.tokens.Load(); got != want {
			t.Errorf("%d token requests, want %d", got, want)
		}
		key := credential.CacheKeyMiniProgramPrefix + "_access_token_" + appID
		if !c.IsExist(key) {
			t.Error("no such entry")
		}
		_ = c.Delete(key)
	}
}

func TestTableHasEveryRow(t *testing.T) {
	var out bytes.Buffer
	if err := run(&out, io.Discard, quickPlan); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + out.String())
	lines := strings.Split(out.String(), "\n")
	rows := regexp.MustCompile(`^\|[^|]*\|[^|]+\| [^|]*\d[^|]* \| [^|]*\d[^|]* \| [^|]*(\d|` + none + `)[^|]* \|$`)
	var works, measures int
	for _, line := range lines[2:] {
		if !strings.HasPrefix(line, "|") {
			break
		}
		if !rows.MatchString(line) {
			t.Errorf("odd row %s", line)
		}
		measures++
		if !strings.HasPrefix(line, "|  |") {
			works++
		}
	}
	if works != 10 || measures != 24 {
		t.Errorf("%d rows about %d kinds of work", measures, works)
	}
	if !strings.Contains(out.String(), "go1.") {
		t.Error("no version of Go")
	}
}

// TestFiguresThatDoNotDependOnTheMachine holds the table's counts.
func TestFiguresThatDoNotDependOnTheMachine(t *testing.T) {
	tokens, err := herd(nameWxphone, &inMemory{tokenDelay: herdDelay}, 500)
	if err != nil || tokens != 1 {
		t.Errorf("a cold herd made %d token requests: %v", tokens, err)
	}
	result, err := revoke(nameWxphone, 10)
	if err != nil || result != (healing{failed: 0, requests: 12}) {
		t.Errorf("a revoked token: %+v: %v", result, err)
	}
}

func TestPercentileAndCount(t *testing.T) {
	samples := []float64{5, 1, 4, 2, 3}
	for percent, want := range map[int]float64{0: 1, 50: 3, 99: 5, 100: 5} {
		if got := percentile(samples, percent); got != want {
			t.Errorf("percentile %d: %v", percent, got)
		}
	}
	if percentile(nil, 50) != 0 {
		t.Error("a percentile of nothing")
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := count(n); got != want {
			t.Errorf("count %d: %s", n, got)
		}
	}
	if got := relative([]float64{0, 1}, micros); got[1] != none {
		t.Errorf("a multiple of nothing: %s", got[1])
	}
}
