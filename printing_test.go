package wxphone_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
	"github.com/wxphone/wxphone/wxphonetest"
)

// everyVerb is every verb that could be, with every flag.
func everyVerb() []string {
	var all []string
	for _, letters := range [][2]rune{{'a', 'z'}, {'A', 'Z'}} {
		for letter := letters[0]; letter <= letters[1]; letter++ {
			for _, flags := range []string{"", "+", "#", "-", " ", "0", "+#", "20", ".9"} {
				all = append(all, "%"+flags+string(letter))
			}
		}
	}
	return append(all, "%!", "%世", "no verb")
}

// hold is a struct of a user's that has T in fields that fmt calls no method
// of.
type hold[T any] struct {
	name    string
	value   T
	pointer *T
	any     any
	list    []T
	array   [1]T
	named   map[string]T
	inner   struct{ value T }
	deep    *struct{ value T }
}

func holding[T any](v T) hold[T] {
	inner := struct{ value T }{v}
	return hold[T]{"held", v, &v, v, []T{v}, [1]T{v}, map[string]T{"a": v}, inner, &inner}
}

// assertHeldPrintsWithout prints a struct that holds v under every verb.
func assertHeldPrintsWithout[T any](t *testing.T, v T, secrets ...string) {
	t.Helper()
	h := holding(v)
	all := []any{h, &h, []hold[T]{h}, []*hold[T]{&h}, map[string]hold[T]{"a": h}, any(h), struct{ h any }{h}, struct{ h *hold[T] }{&h}}
	for _, verb := range everyVerb() {
		for _, container := range all {
			text := fmt.Sprintf(verb, container)
			if !assertTellsNone(t, text, secrets, "%T in an unexported field, under %s,", v, verb) {
				return
			}
		}
	}
	assertTellsNone(t, fmt.Sprint(all...)+fmt.Sprintln(all...), secrets, "Print of %T in an unexported field", v)
}

// wordsOf returns how the round keys of an AES key would be printed: as the
// numbers of its 32-bit words, of which three are enough.
func wordsOf(key []byte) []string {
	bytes := strings.Trim(fmt.Sprintf("%d", key[:12]), "[]")
	words := []string{bytes, string(key[:12])}
	for _, order := range []binary.ByteOrder{binary.BigEndian, binary.LittleEndian} {
		for _, verb := range []string{"%d", "%x"} {
			var numbers []string
			for i := 0; i < 12; i += 4 {
				numbers = append(numbers, fmt.Sprintf(verb, order.Uint32(key[i:])))
			}
			words = append(words, strings.Join(numbers, " "))
		}
	}
	return words
}

func TestTypesInUnexportedFieldsPrintNoSecret(t *testing.T) {
	t.Parallel()
	server := wxphonetest.NewServer(t)
	code := server.IssueCode(aPhone)
	ctx := context.Background()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	aesKey := make([]byte, 32)
	_, _ = rand.Read(aesKey)
	secured := wxphone.WithAPISecurity(wxphone.APISecurity{
		SymmetricKeySN: "1", SymmetricKey: base64.StdEncoding.EncodeToString(aesKey), PrivateKey: crypto.Signer(private),
		Certificates: map[string]*x509.Certificate{"1": {PublicKey: private.Public()}},
	})
	keys := append(wordsOf(aesKey), private.D.String(), private.Primes[0].String())

	t.Run("Client", func(t *testing.T) {
		t.Parallel()
		for name, opts := range map[string][]wxphone.Option{
			"stable": nil, "classic": {wxphone.WithClassicToken()}, "stored": {wxphone.WithTokenStore(new(wxphonetest.MemoryStore))},
			"secured": {secured},
		} {
			client := server.NewClient(opts...)
			token, err := client.AccessToken(ctx)
			require.NoError(t, err, name)
			assertHeldPrintsWithout(t, *client, append(keys, server.Secret(), token.AccessToken, code)...)
			assertHeldPrintsWithout(t, client, append(keys, server.Secret(), token.AccessToken, code)...)
		}
	})
	t.Run("Component", func(t *testing.T) {
		t.Parallel()
		platform := server.NewComponent(secured)
		tokens := authorized(server, server.AppID())
		refreshToken, _ := tokens.stored(server.AppID())
		client := clientOf(t, platform, server.AppID(), tokens)
		token, err := client.AccessToken(ctx)
		require.NoError(t, err)
		secrets := append(slices.Clone(keys), server.ComponentSecret(), server.Ticket(), refreshToken, token.AccessToken)
		assertHeldPrintsWithout(t, *platform, secrets...)
		assertHeldPrintsWithout(t, platform, secrets...)
		assertHeldPrintsWithout(t, *client, secrets...)
	})
	t.Run("CacheTokens", func(t *testing.T) {
		t.Parallel()
		cached := wxphone.CacheTokens(fixedToken(someToken), wxphone.WithCacheStore(new(wxphonetest.MemoryStore), "key"))
		_, err := cached.Token(ctx)
		require.NoError(t, err)
		assertHeldPrintsWithout(t, cached, someToken)
	})
	t.Run("PushReader", func(t *testing.T) {
		t.Parallel()
		key := base64.StdEncoding.EncodeToString(aesKey)[:43]
		reader, err := wxphone.NewPushReader(someComponentID, "token-of-the-pushes", key, key)
		require.NoError(t, err)
		secrets := append(wordsOf(aesKey), "token-of-the-pushes")
		assertHeldPrintsWithout(t, reader, secrets...)
		assertHeldPrintsWithout(t, *reader, secrets...)
		assertHeldPrintsWithout(t, reader.Handler(func(context.Context, *wxphone.Push) error { return nil }), secrets...)
	})
	t.Run("options", func(t *testing.T) {
		t.Parallel()
		assertHeldPrintsWithout(t, secured, keys...)
		assertHeldPrintsWithout(t, wxphone.WithTokenSource(fixedToken(someToken)), someToken)
		assertHeldPrintsWithout(t, wxphone.WithOpenID("openid-of-somebody"), "openid-of-somebody")
	})
	t.Run("errors", func(t *testing.T) {
		t.Parallel()
		_, err := server.NewClient().GetPhoneNumber(ctx, someCode)
		require.Error(t, err)
		assertHeldPrintsWithout(t, err, someCode, server.Token(), server.Secret())
	})
}

// printsInFull are the types that have nothing to hide behind, as they must be
// comparable, or may be written as a literal. SECURITY.md names them.
func TestTypesThatPrintInFullInUnexportedFieldsAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("SECURITY.md")
	require.NoError(t, err)
	documented := string(text)
	for name, held := range map[string]any{
		"Token":         holding(wxphone.Token{AccessToken: someToken, ExpiresAt: time.Unix(1, 0)}),
		"SessionKey":    holding(wxphone.SessionKey(someToken)),
		"Session":       holding(wxphone.Session{SessionKey: someToken}),
		"PhoneInfo":     holding(wxphone.PhoneInfo{PhoneNumber: someToken}),
		"APISecurity":   holding(wxphone.APISecurity{SymmetricKey: someToken}),
		"Authorization": holding(wxphone.Authorization{RefreshToken: someToken}),
		"Authorizer":    holding(wxphone.Authorizer{RefreshToken: someToken}),
		"Push":          holding(wxphone.Push{Ticket: someToken}),
	} {
		require.Contains(t, fmt.Sprintf("%v", held), someToken, "%s is not among them any more", name)
		require.Contains(t, documented, "`"+name+"`")
	}
}
