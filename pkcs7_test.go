package wxphone

import (
	"bytes"
	"crypto/aes"
	"testing"

	"github.com/stretchr/testify/require"
)

// The blocks that encryptedData and pushes are padded to.
var paddedBlocks = []int{16, 32}

// naiveUnpad is what everybody would write who need not care about time.
func naiveUnpad(b []byte, blockSize int) (length int, good bool) {
	if len(b) == 0 || len(b)%blockSize != 0 {
		return 0, false
	}
	padding := int(b[len(b)-1])
	if padding == 0 || padding > blockSize {
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
	for _, blockSize := range paddedBlocks {
		for padding := 1; padding <= blockSize; padding++ {
			b := bytes.Repeat([]byte{byte(padding)}, 2*blockSize)
			length, good := unpadPKCS7(b, blockSize)
			require.Equal(t, 1, good, "padding of %d", padding)
			require.Equal(t, 2*blockSize-padding, length)
		}
	}
}

func TestPaddingByteOutOfRangeIsRefused(t *testing.T) {
	t.Parallel()
	for _, blockSize := range paddedBlocks {
		for last := 0; last < 256; last++ {
			b := bytes.Repeat([]byte{byte(last)}, 2*blockSize)
			_, good := unpadPKCS7(b, blockSize)
			require.Equal(t, last >= 1 && last <= blockSize, good == 1, "padding byte %d", last)
		}
	}
}

func TestEveryPaddingByteIsChecked(t *testing.T) {
	t.Parallel()
	for _, blockSize := range paddedBlocks {
		for padding := 1; padding <= blockSize; padding++ {
			for wrong := 2; wrong <= padding; wrong++ {
				b := bytes.Repeat([]byte{byte(padding)}, blockSize)
				b[len(b)-wrong] ^= 0x80
				_, good := unpadPKCS7(b, blockSize)
				require.Zero(t, good, "padding of %d, wrong byte %d from the end", padding, wrong)
			}
		}
	}
}

func TestPaddingNeedsWholeBlocks(t *testing.T) {
	t.Parallel()
	for _, blockSize := range paddedBlocks {
		for _, n := range []int{0, 1, blockSize - 1, blockSize + 1, 2*blockSize - 1} {
			length, good := unpadPKCS7(bytes.Repeat([]byte{1}, n), blockSize)
			require.Zero(t, length)
			require.Zero(t, good)
		}
	}
}

func TestWrongPaddingStillYieldsAPlausibleLength(t *testing.T) {
	t.Parallel()
	for _, blockSize := range paddedBlocks {
		for last := 0; last < 256; last++ {
			b := make([]byte, 2*blockSize)
			b[len(b)-1] = byte(last)
			length, _ := unpadPKCS7(b, blockSize)
			require.GreaterOrEqual(t, length, blockSize)
			require.Less(t, length, 2*blockSize)
		}
	}
}

func FuzzUnpadPKCS7(f *testing.F) {
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0}, 16))
	f.Add(bytes.Repeat([]byte{16}, 16))
	f.Add(bytes.Repeat([]byte{17}, 32))
	f.Add(append(bytes.Repeat([]byte{'{'}, 29), 3, 3, 3))
	f.Add(append(bytes.Repeat([]byte{'{'}, 29), 3, 2, 3))
	f.Add(bytes.Repeat([]byte{32}, 32))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, blockSize := range paddedBlocks {
			before := bytes.Clone(b)
			length, good := unpadPKCS7(b, blockSize)
			wantLength, wantGood := naiveUnpad(b, blockSize)
			if good != 0 && good != 1 || (good == 1) != wantGood {
				t.Fatalf("unpadPKCS7(%x, %d) says %d, the reference %v", b, blockSize, good, wantGood)
			}
			if wantGood && length != wantLength {
				t.Fatalf("unpadPKCS7(%x, %d) leaves %d bytes, the reference %d", b, blockSize, length, wantLength)
			}
			if !bytes.Equal(b, before) {
				t.Fatal("unpadPKCS7 modified its input")
			}
		}
	})
}

func TestEveryPaddingLengthIsAcceptedAndBlanked(t *testing.T) {
	t.Parallel()
	for padding := 1; padding <= aes.BlockSize; padding++ {
		b := bytes.Repeat([]byte{'x'}, 3*aes.BlockSize-padding)
		want := append(bytes.Clone(b), bytes.Repeat([]byte{' '}, padding)...)
		b = append(b, bytes.Repeat([]byte{byte(padding)}, padding)...)
		require.Equal(t, 1, blankPKCS7(b), "padding of %d", padding)
		require.Equal(t, want, b)
	}
}

func TestPaddingByteOutOfRangeIsRefusedBeforeBlanking(t *testing.T) {
	t.Parallel()
	for last := 0; last < 256; last++ {
		good := blankPKCS7(bytes.Repeat([]byte{byte(last)}, 2*aes.BlockSize))
		require.Equal(t, last >= 1 && last <= aes.BlockSize, good == 1, "padding byte %d", last)
	}
}

func TestEveryPaddingByteIsCheckedBeforeBlanking(t *testing.T) {
	t.Parallel()
	for padding := 1; padding <= aes.BlockSize; padding++ {
		for wrong := 2; wrong <= padding; wrong++ {
			for bit := 0; bit < 8; bit++ {
				b := bytes.Repeat([]byte{byte(padding)}, aes.BlockSize)
				b[len(b)-wrong] ^= 1 << bit
				require.Zero(t, blankPKCS7(b), "padding of %d, wrong byte %d from the end", padding, wrong)
			}
		}
	}
}

func TestPaddingNeedsWholeBlocksBeforeBlanking(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 15, 17, 31} {
		b := bytes.Repeat([]byte{1}, n)
		require.Zero(t, blankPKCS7(b))
		require.Equal(t, bytes.Repeat([]byte{1}, n), b)
	}
}

func TestWrongPaddingBlanksWithinTheLastBlock(t *testing.T) {
	t.Parallel()
	for last := 0; last < 256; last++ {
		b := bytes.Repeat([]byte{'x'}, 2*aes.BlockSize)
		b[len(b)-1] = byte(last)
		blankPKCS7(b)
		require.Equal(t, bytes.Repeat([]byte{'x'}, aes.BlockSize), b[:aes.BlockSize])
		require.Equal(t, byte(' '), b[len(b)-1])
	}
}

func FuzzBlankPKCS7(f *testing.F) {
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0}, 16))
	f.Add(bytes.Repeat([]byte{16}, 16))
	f.Add(bytes.Repeat([]byte{17}, 32))
	f.Add(append(bytes.Repeat([]byte{'{'}, 29), 3, 3, 3))
	f.Add(append(bytes.Repeat([]byte{'{'}, 29), 3, 2, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		length, wantGood := naiveUnpad(b, aes.BlockSize)
		want := append(bytes.Clone(b[:length]), bytes.Repeat([]byte{' '}, len(b)-length)...)
		good := blankPKCS7(b)
		if good != 0 && good != 1 || (good == 1) != wantGood {
			t.Fatalf("blankPKCS7(%x) says %d, the reference %v", b, good, wantGood)
		}
		if wantGood && !bytes.Equal(b, want) {
			t.Fatalf("blankPKCS7 made %x, the reference %x", b, want)
		}
	})
}
