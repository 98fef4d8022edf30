package wxphone_test

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// decryptBlocks returns the plaintext of a ciphertext under legacyKey and
// legacyIV, padding included.
func decryptBlocks(ciphertext []byte) []byte {
	block, err := aes.NewCipher(legacyKey)
	if err != nil {
		panic(err)
	}
	plaintext := make([]byte, len(ciphertext))
	cipher.NewCBCDecrypter(block, legacyIV).CryptBlocks(plaintext, ciphertext)
	return plaintext
}

// splice inserts one to three random blocks at a block boundary. They decrypt
// to garbage, and so does the block behind them.
func splice(rng *rand.Rand, ciphertext []byte, boundary int) []byte {
	forged := make([]byte, aes.BlockSize*(1+rng.Intn(3)))
	rng.Read(forged)
	return slices.Insert(slices.Clone(ciphertext), boundary, forged...)
}

// readsPlainly reports whether encoding/json finds the number in a ciphertext.
func readsPlainly(ciphertext []byte) bool {
	plaintext := decryptBlocks(ciphertext)
	var p plainPhone
	err := json.Unmarshal(plaintext[:len(plaintext)-int(plaintext[len(plaintext)-1])], &p)
	return err == nil && p.PhoneNumber == "13800000000"
}

func spliceCount() int {
	if testing.Short() || underRace {
		return 10_000
	}
	return 100_000
}

// Whoever may splice garbage where nobody looks learns from each success what
// a block does not decrypt to, and can shift what stands behind it.
func TestGarbageInAnIgnoredStringIsRefused(t *testing.T) {
	t.Parallel()
	text := `{"note":"` + strings.Repeat("x", 200) + `",` + legacyPayload("13800000000", "13800000000", "86")[1:]
	ciphertext := encryptBlocks(t, padPKCS7([]byte(text)))
	_, err := openBlocks(ciphertext)
	require.NoError(t, err)

	rng := rand.New(rand.NewSource(4))
	accepted, plainly := 0, 0
	for i := 0; i < spliceCount(); i++ {
		// The boundary and the block behind it are within the note.
		boundary := aes.BlockSize * (1 + rng.Intn(11))
		forged := splice(rng, ciphertext, boundary)
		if i < 5000 && readsPlainly(forged) {
			plainly++
		}
		got, err := openBlocks(forged)
		if err == nil {
			require.Equal(t, "13800000000", got.PhoneNumber)
			accepted++
		}
	}
	t.Logf("%d of %d spliced messages accepted; of the first 5000, encoding/json takes %d", accepted, spliceCount(), plainly)
	require.Positive(t, plainly, "the messages must be such that a lenient reader takes some")
	require.LessOrEqual(t, accepted, 2)
}

func TestGarbageInAFieldIsRefused(t *testing.T) {
	t.Parallel()
	ciphertext := encryptBlocks(t, padPKCS7([]byte(legacyPayload("13800000000", "13800000000", "86"))))
	rng := rand.New(rand.NewSource(5))
	for i := 0; i < spliceCount()/10; i++ {
		boundary := aes.BlockSize * rng.Intn(len(ciphertext)/aes.BlockSize+1)
		_, err := openBlocks(splice(rng, ciphertext, boundary))
		require.Error(t, err)

		replaced := slices.Clone(ciphertext)
		at := aes.BlockSize * rng.Intn(len(ciphertext)/aes.BlockSize)
		rng.Read(replaced[at : at+aes.BlockSize])
		_, err = openBlocks(replaced)
		require.Error(t, err)
	}
}

// Without new blocks, those of the message itself can be swapped and repeated.
func TestShuffledBlocksAreRefused(t *testing.T) {
	t.Parallel()
	ciphertext := encryptBlocks(t, padPKCS7([]byte(legacyPayload("13800000000", "13800000000", "86"))))
	blocks := len(ciphertext) / aes.BlockSize
	for from := 0; from < blocks; from++ {
		for to := 0; to <= blocks; to++ {
			moved := slices.Insert(slices.Clone(ciphertext), to*aes.BlockSize, ciphertext[from*aes.BlockSize:(from+1)*aes.BlockSize]...)
			_, err := openBlocks(moved)
			require.Error(t, err, "block %d again before %d", from, to)
		}
	}
}
