package wxphone

import (
	"crypto/aes"
	"crypto/subtle"
)

// unpadPKCS7 returns the length of b without its padding, and 1 if the padding
// is right or 0 if it is not. b holds whole blocks, at least one. blockSize is
// a power of two: encryptedData is padded to AES blocks of 16 bytes, and pushes
// to blocks of 32.
//
// The length is within the last block even if the padding is wrong: it comes
// from the last byte alone, modulo the block size. Whoever goes on with it
// does so regardless of good, and must in the end refuse unless good is 1.
// Neither a branch nor an index depends on the contents of b.
func unpadPKCS7(b []byte, blockSize int) (length, good int) {
	if len(b) == 0 || len(b)%blockSize != 0 {
		return 0, 0
	}
	last := b[len(b)-1]
	padding := (int(last)-1)&(blockSize-1) + 1
	good = subtle.ConstantTimeByteEq(last, byte(padding))
	for i := 1; i <= blockSize; i++ {
		outside := 1 - subtle.ConstantTimeLessOrEq(i, padding)
		good &= outside | subtle.ConstantTimeByteEq(b[len(b)-i], last)
	}
	return len(b) - padding, good
}

// blankTail overwrites b from length on, which must be within the last block,
// with spaces. JSON ignores them at its end, so that reading b costs the same
// whatever length is.
func blankTail(b []byte, length int) {
	for i := len(b) - aes.BlockSize; i < len(b); i++ {
		beyond := subtle.ConstantTimeLessOrEq(length, i)
		b[i] = byte(subtle.ConstantTimeSelect(beyond, ' ', int(b[i]))) //nolint:gosec // both choices are bytes
	}
}
