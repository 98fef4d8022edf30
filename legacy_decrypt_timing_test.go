//go:build timing

// Measurements of what the time of a refusal tells. They need a quiet machine
// and minutes, so they run only on request:
//
//	go test -tags timing -run TestTiming -v -timeout 30m -timing.samples 200000 -timing.attack 60s .
package wxphone_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/base64"
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/wxphone/wxphone"
)

var (
	timingSamples = flag.Int("timing.samples", 200_000, "samples of each class of messages")
	timingAttack  = flag.Duration("timing.attack", time.Minute, "how long each attack runs")
)

// timedCall hands messages to one of the decryptors, all from the same memory,
// so that where a message lies makes no difference.
type timedCall struct {
	open     func(key wxphone.SessionKey, data, iv string) error
	data, iv []byte
	dither   int
}

func newTimedCall(size int, open func(key wxphone.SessionKey, data, iv string) error) *timedCall {
	return &timedCall{
		open: open,
		data: make([]byte, base64.StdEncoding.EncodedLen(size)),
		iv:   make([]byte, base64.StdEncoding.EncodedLen(aes.BlockSize)),
	}
}

// run returns how many nanoseconds one call takes.
func (c *timedCall) run(key wxphone.SessionKey) (elapsed int64, err error) {
	data := unsafe.String(&c.data[0], len(c.data))
	iv := unsafe.String(&c.iv[0], len(c.iv))
	// The clock moves in steps. Which part of one the start meets must not depend
	// on how long it took to make the message.
	for range rand.Intn(200) {
		c.dither = c.dither*5 + 1
	}
	start := time.Now()
	err = c.open(key, data, iv)
	return time.Since(start).Nanoseconds(), err
}

func timedDecryptors() map[string]func(key wxphone.SessionKey, data, iv string) error {
	target := new(struct{})
	return map[string]func(key wxphone.SessionKey, data, iv string) error{
		"DecryptPhoneNumber": func(key wxphone.SessionKey, data, iv string) error {
			_, err := wxphone.DecryptPhoneNumber(legacyAppID, key, data, iv)
			return err
		},
		"DecryptData": func(key wxphone.SessionKey, data, iv string) error {
			return wxphone.DecryptData(legacyAppID, key, data, iv, target)
		},
	}
}

// timedClasses are plaintexts of one size, with their padding, each refused by
// both decryptors for another reason.
func timedClasses(tb testing.TB, size int) map[string][]byte {
	tb.Helper()
	good := bytes.Repeat([]byte{'x'}, size-1)
	if size > aes.BlockSize {
		text := legacyPayload("13800000000", "13800000000", "86")
		if n := size - 14 - len(text); n > 0 {
			text = text[:len(text)-1] + `,"note":"` + strings.Repeat("x", n-len(`,"note":""`)) + `"}`
		}
		good = []byte(text)
	}
	good = padPKCS7(good)
	require.Len(tb, good, size)
	change := func(at int, with ...byte) []byte {
		b := bytes.Clone(good)
		if at < 0 {
			at += len(b)
		}
		copy(b[at:], with)
		return b
	}
	fill := func(c byte) []byte {
		b := bytes.Repeat([]byte{c}, size)
		b[size-1] = 1
		return b
	}
	rng := rand.New(rand.NewSource(6))
	garbage := func(n int) []byte {
		b := make([]byte, n)
		rng.Read(b)
		b[n-1] |= 0x80
		return b
	}
	last := good[size-1]
	classes := map[string][]byte{
		"garbage":                   garbage(size),
		"padding: 0":                change(-1, 0),
		"padding: 17":               change(-1, 17),
		"padding: high nibble":      change(-1, last|0x80),
		"padding: low nibble 1":     change(-1, 0xA1),
		"padding: low nibble 8":     change(-1, 0xA8),
		"padding: low nibble 15":    change(-1, 0xAF),
		"padding: low nibble 0":     change(-1, 0xA0),
		"blanks":                    fill(' '),
		"blanks, bad padding":       append(bytes.Repeat([]byte{' '}, size-1), 0xA1),
		"braces":                    fill('{'),
		"brackets":                  fill('['),
		"quotes":                    fill('"'),
		"backslashes":               fill('\\'),
		"blank block, then garbage": append(bytes.Repeat([]byte{' '}, aes.BlockSize-1), garbage(size-aes.BlockSize+1)...),
		"open string, then garbage": append([]byte(`{"aaaaaaaaaaaaa`), garbage(size-aes.BlockSize+1)...),
	}
	if size == aes.BlockSize {
		return classes
	}
	middle, end := size/2/aes.BlockSize*aes.BlockSize, size-2*aes.BlockSize
	classes["bad padding"] = change(-2, 0)
	classes["garbage block first"] = change(0, garbage(aes.BlockSize)...)
	classes["garbage block in the middle"] = change(middle, garbage(aes.BlockSize)...)
	classes["garbage block near the end"] = change(end, garbage(aes.BlockSize)...)
	classes["bad JSON first"] = change(0, 'x')
	classes["bad JSON in the middle"] = change(bytes.Index(good, []byte(`,"watermark`)), ';')
	classes["bad JSON at the end"] = change(size-int(last)-1, 'x')
	classes["wrong appid"] = bytes.Replace(good, []byte(legacyAppID), []byte("wx0123456789abcdeF"), 1)
	classes["no watermark"] = bytes.Replace(good, []byte("watermark"), []byte("watermarx"), 1)
	classes["blank first block"] = change(0, bytes.Repeat([]byte{' '}, aes.BlockSize)...)
	classes["text first block"] = change(0, bytes.Repeat([]byte{'x'}, aes.BlockSize)...)
	return classes
}

// TestTimingOfRefusals compares the classes pairwise by Welch's t, as dudect
// does. A |t| of 5 or more says that two classes differ in time; chance alone
// makes 4 of so many pairs.
//
// Every message is encrypted just before it is timed, each time under another
// session_key. A message that was copied from memory of its own, or that was
// always the same ciphertext, would differ from others with the same plaintext.
func TestTimingOfRefusals(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, decryptor := range []string{"DecryptPhoneNumber", "DecryptData"} {
		for _, size := range []int{16, 160, 400, 4096} {
			t.Run(fmt.Sprintf("%s/%d", decryptor, size), func(t *testing.T) {
				classes := timedClasses(t, size)
				names := slices.Sorted(maps.Keys(classes))
				// All start at the beginning of a cache line.
				stride := size + -size&63
				plaintexts := make([]byte, len(names)*stride)
				places, order := make([]int, len(names)), make([]int, len(names))
				for i := range names {
					places[i], order[i] = i, i
				}
				call := newTimedCall(size, timedDecryptors()[decryptor])
				base64.StdEncoding.Encode(call.iv, legacyIV)
				samples := make([][]int64, len(names))
				rng := rand.New(rand.NewSource(7))
				rawKey, ciphertext := make([]byte, aes.BlockSize), make([]byte, size)
				for n := 0; n < *timingSamples; n++ {
					if n%100 == 0 { // where a plaintext lies takes its time too
						rng.Shuffle(len(places), func(i, j int) { places[i], places[j] = places[j], places[i] })
						for i, name := range names {
							copy(plaintexts[places[i]*stride:], classes[name])
						}
					}
					rng.Read(rawKey)
					block, err := aes.NewCipher(rawKey)
					require.NoError(t, err)
					key := wxphone.SessionKey(encode64(rawKey))
					rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
					for _, i := range order {
						encryptInto(ciphertext, plaintexts[places[i]*stride:][:size], block)
						base64.StdEncoding.Encode(call.data, ciphertext)
						elapsed, err := call.run(key)
						if err == nil {
							t.Fatalf("%s: accepted", names[i])
						}
						samples[i] = append(samples[i], elapsed)
					}
				}
				reportTimings(t, names, samples)
			})
		}
	}
}

// encryptInto encrypts whole blocks under legacyIV. It allocates nothing, so as
// not to disturb what is timed.
func encryptInto(ciphertext, blocks []byte, block cipher.Block) {
	before := legacyIV
	for i := 0; i < len(blocks); i += aes.BlockSize {
		to := ciphertext[i : i+aes.BlockSize]
		subtle.XORBytes(to, blocks[i:i+aes.BlockSize], before)
		block.Encrypt(to, to)
		before = to
	}
}

// reportTimings logs the mean time of each class and the pair that differs
// most, over the fastest nine tenths of all samples.
func reportTimings(t *testing.T, names []string, samples [][]int64) {
	t.Helper()
	all := slices.Concat(samples...)
	slices.Sort(all)
	crop := all[len(all)*9/10]
	type moments struct {
		name              string
		n, mean, variance float64
	}
	var classes []moments
	for i, name := range names {
		m := moments{name: name}
		sum, squares := 0.0, 0.0
		for _, s := range samples[i] {
			if s <= crop {
				m.n++
				sum += float64(s)
				squares += float64(s) * float64(s)
			}
		}
		m.mean = sum / m.n
		m.variance = (squares - sum*sum/m.n) / (m.n - 1)
		classes = append(classes, m)
	}
	slices.SortFunc(classes, func(a, b moments) int { return int(math.Copysign(1, a.mean-b.mean)) })
	worst, between := 0.0, ""
	for i, a := range classes {
		for _, b := range classes[i+1:] {
			welch := (b.mean - a.mean) / math.Sqrt(a.variance/a.n+b.variance/b.n)
			if welch > worst {
				worst, between = welch, a.name+" | "+b.name
			}
		}
	}
	for _, c := range classes {
		t.Logf("%8.1f ns ± %.1f  %s", c.mean, math.Sqrt(c.variance), c.name)
	}
	t.Logf("largest |t| of %d classes, %d samples each: %.1f (%s)", len(names), len(samples[0]), worst, between)
	require.Less(t, worst, 5.0)
}

// forger makes messages whose i-th byte of plaintext is value ^ the byte that
// is wanted, as somebody without the key can who knows what stands before it.
type forger struct {
	name string
	size int
	make func(i int, value byte) (ciphertext, iv []byte)
}

// forgers are the two kinds of messages in which the sender of the iv reaches
// a block he wants to know: that block alone, where the last byte blanks what
// stands behind the wanted one, and that block before the genuine ones which
// follow it.
func forgers(ciphertext, secret []byte) []forger {
	target := ciphertext[aes.BlockSize : 2*aes.BlockSize]
	alone := func(i int, value byte) ([]byte, []byte) {
		plaintext := bytes.Repeat([]byte{' '}, aes.BlockSize)
		plaintext[aes.BlockSize-1] = 0xA0 | byte(aes.BlockSize-1-i)
		iv := make([]byte, aes.BlockSize)
		for j := range iv {
			iv[j] = secret[j] ^ plaintext[j]
		}
		iv[i] = value
		return target, iv
	}
	front := func(i int, value byte) ([]byte, []byte) {
		iv := make([]byte, aes.BlockSize)
		for j := range iv {
			switch {
			case j < i:
				iv[j] = secret[j] ^ `{"aaaaaaaaaaaaaa`[j]
			case j > i:
				iv[j] = byte(j) // the sender knows nothing of these
			}
		}
		iv[i] = value
		return ciphertext[aes.BlockSize:], iv
	}
	return []forger{{"alone", aes.BlockSize, alone}, {"in front", len(ciphertext) - aes.BlockSize, front}}
}

// TestTimingAttack decrypts a block byte by byte, by the time of refusals
// alone. For each byte it times all 256 values of the byte of the iv, and
// looks for the shift by which these times resemble those of a message whose
// key the attacker knows. He is even told the bytes before.
func TestTimingAttack(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	message := func(key []byte) (ciphertext, secret []byte) {
		plaintext := padPKCS7([]byte(legacyPayload("13800000000", "13800000000", "86")))
		ciphertext = encryptUnder(t, key, plaintext)
		block, err := aes.NewCipher(key)
		require.NoError(t, err)
		secret = make([]byte, aes.BlockSize)
		block.Decrypt(secret, ciphertext[aes.BlockSize:2*aes.BlockSize])
		return ciphertext, secret
	}
	ownKey := []byte("the attacker's k")
	genuine, secret := message(legacyKey)
	own, ownSecret := message(ownKey)
	for _, decryptor := range []string{"DecryptPhoneNumber", "DecryptData"} {
		for which, forged := range forgers(genuine, secret) {
			ownForged := forgers(own, ownSecret)[which]
			t.Run(decryptor+"/"+forged.name, func(t *testing.T) {
				open := timedDecryptors()[decryptor]
				call := newTimedCall(forged.size, open)
				calls, right := 0, 0
				const attacked = aes.BlockSize - 1
				for i := 0; i < attacked; i++ {
					times, templates := collectTimes(call, i, *timingAttack/attacked, forged, ownForged, ownKey, ownSecret[i], &calls)
					if mostAlike(times, templates) == secret[i] {
						right++
					}
				}
				t.Logf("%d of %d bytes recovered in %d calls", right, attacked, calls)
				require.LessOrEqual(t, right, 2, "chance alone recovers one in 256")
			})
		}
	}
}

// collectTimes times both messages with each value of the i-th byte. templates
// is by the byte of plaintext, times by the byte of the iv.
func collectTimes(call *timedCall, i int, budget time.Duration, forged, own forger, ownKey []byte, ownSecret byte, calls *int) (times, templates [256]float64) {
	var samples [2][256][]int64
	keys := [2]wxphone.SessionKey{wxphone.SessionKey(encode64(legacyKey)), wxphone.SessionKey(encode64(ownKey))}
	rng := rand.New(rand.NewSource(int64(i)))
	for deadline := time.Now().Add(budget); time.Now().Before(deadline); {
		for _, value := range rng.Perm(256) {
			for side, f := range [2]forger{forged, own} {
				ciphertext, iv := f.make(i, byte(value))
				base64.StdEncoding.Encode(call.data, ciphertext)
				base64.StdEncoding.Encode(call.iv, iv)
				elapsed, _ := call.run(keys[side])
				if side == 1 {
					samples[1][byte(value)^ownSecret] = append(samples[1][byte(value)^ownSecret], elapsed)
					continue
				}
				samples[0][value] = append(samples[0][value], elapsed)
				*calls++
			}
		}
	}
	for value := range 256 {
		times[value], templates[value] = typicalTime(samples[0][value]), typicalTime(samples[1][value])
	}
	return times, templates
}

// typicalTime is the mean of the faster three quarters.
func typicalTime(samples []int64) float64 {
	slices.Sort(samples)
	samples = samples[:len(samples)*3/4]
	sum := 0.0
	for _, s := range samples {
		sum += float64(s)
	}
	return sum / float64(len(samples))
}

// mostAlike returns the byte that the iv is combined with where the times
// follow the templates best.
func mostAlike(times, templates [256]float64) byte {
	mean := 0.0
	for _, m := range templates {
		mean += m / 256
	}
	best, found := math.Inf(-1), 0
	for guess := range 256 {
		sum := 0.0
		for value := range 256 {
			sum += times[value] * (templates[value^guess] - mean)
		}
		if sum > best {
			best, found = sum, guess
		}
	}
	return byte(found)
}
