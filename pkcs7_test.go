package wxphone

import (
	"bytes"
	"crypto/aes"
	"testing"

	"github.com/stretchr/testify/require"
)

// naiveUnpad is what everybody would write who need not care about time.
func naiveUnpad(b []byte) (length int, good bool) {
	if len(b) == 0 || len(b)%aes.BlockSize != 0 {
		return 0, false
	}
	padding := int(b[len(b)-1])
	if padding == 0 || padding > aes.BlockSize {
		return 0, false
	}
	for _, c := range b[len(b)-padding:] {
		if int(c) != padding {
			return 0, false
		}
	}
	return len(b) - padding, true
}

func TestEveryPaddingLengthIsAccepted(t *testing.T) {
	t.Parallel()
	for padding := 1; padding <= aes.BlockSize; padding++ {
		b := bytes.Repeat([]byte{byte(padding)}, 2*aes.BlockSize)
		length, good := unpadPKCS7(b)
		require.Equal(t, 1, good, "padding of %d", padding)
		require.Equal(t, 2*aes.BlockSize-padding, length)
	}
}

func TestPaddingByteOutOfRangeIsRefused(t *testing.T) {
	t.Parallel()
	for last := 0; last < 256; last++ {
		b := bytes.Repeat([]byte{byte(last)}, 2*aes.BlockSize)
		_, good := unpadPKCS7(b)
		require.Equal(t, last >= 1 && last <= aes.BlockSize, good == 1, "padding byte %d", last)
	}
}

func TestEveryPaddingByteIsChecked(t *testing.T) {
	t.Parallel()
	for padding := 1; padding <= aes.BlockSize; padding++ {
		for wrong := 2; wrong <= padding; wrong++ {
			b := bytes.Repeat([]byte{byte(padding)}, aes.BlockSize)
			b[len(b)-wrong] ^= 0x80
			_, good := unpadPKCS7(b)
			require.Zero(t, good, "padding of %d, wrong byte %d from the end", padding, wrong)
		}
	}
}

func TestPaddingNeedsWholeBlocks(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 15, 17, 31} {
		length, good := unpadPKCS7(bytes.Repeat([]byte{1}, n))
		require.Zero(t, length)
		require.Zero(t, good)
	}
}

func TestWrongPaddingStillYieldsAPlausibleLength(t *testing.T) {
	t.Parallel()
	for last := 0; last < 256; last++ {
		b := make([]byte, 2*aes.BlockSize)
		b[len(b)-1] = byte(last)
		length, _ := unpadPKCS7(b)
		require.GreaterOrEqual(t, length, aes.BlockSize)
		require.Less(t, length, 2*aes.BlockSize)
	}
}

func TestBlankTailBlanksTheTailOnly(t *testing.T) {
	t.Parallel()
	for length := aes.BlockSize; length <= 2*aes.BlockSize; length++ {
		b := bytes.Repeat([]byte{'x'}, 2*aes.BlockSize)
		blankTail(b, length)
		want := append(bytes.Repeat([]byte{'x'}, length), bytes.Repeat([]byte{' '}, 2*aes.BlockSize-length)...)
		require.Equal(t, want, b)
	}
}

func FuzzUnpadPKCS7(f *testing.F) {
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0}, 16))
	f.Add(bytes.Repeat([]byte{16}, 16))
	f.Add(bytes.Repeat([]byte{17}, 32))
	f.Add(append(bytes.Repeat([]byte{'{'}, 29), 3, 3, 3))
	f.Add(append(bytes.Repeat([]byte{'{'}, 29), 3, 2, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		length, good := unpadPKCS7(b)
		wantLength, wantGood := naiveUnpad(b)
		if good != 0 && good != 1 || (good == 1) != wantGood {
			t.Fatalf("unpadPKCS7(%x) says %d, the reference %v", b, good, wantGood)
		}
		if wantGood && length != wantLength {
			t.Fatalf("unpadPKCS7(%x) leaves %d bytes, the reference %d", b, length, wantLength)
		}
		if !bytes.Equal(b, before) {
			t.Fatal("unpadPKCS7 modified its input")
		}
	})
}
