package wxphone

import (
	"crypto/aes"
	"crypto/subtle"
	"encoding/binary"
)

// blankPKCS7 overwrites the padding of b with spaces, which JSON ignores at its
// end, and returns 1 if the padding is right or 0 if it is not. b holds whole
// AES blocks, at least one.
//
// What it overwrites if the padding is wrong follows from the last byte alone,
// modulo the block size. Neither a branch nor an index depends on the contents
// of b.
func blankPKCS7(b []byte) (good int) {
	if len(b) == 0 || len(b)%aes.BlockSize != 0 {
		return 0
	}
	const each, spaces = 0x0101010101010101, ' ' * 0x0101010101010101
	tail := b[len(b)-aes.BlockSize:]
	front, back := binary.LittleEndian.Uint64(tail[:8]), binary.LittleEndian.Uint64(tail[8:])
	last := back >> 56
	padding := (last-1)&(aes.BlockSize-1) + 1
	// Bytes that belong to the padding are all ones. Of front there are some
	// only if the padding is longer than back, which is eight bytes.
	inBack := ^(^uint64(0) >> (8 * padding))
	inFront := ^(^uint64(0) >> (8 * (padding - 8) & 127)) & -((8 - padding) >> 63)
	wrong := (front^last*each)&inFront | (back^last*each)&inBack | (last ^ padding)
	binary.LittleEndian.PutUint64(tail[:8], front&^inFront|spaces&inFront)
	binary.LittleEndian.PutUint64(tail[8:], back&^inBack|spaces&inBack)
	return int(1 ^ (wrong|-wrong)>>63) //nolint:gosec // 0 or 1
}

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
	good = subtle.ConstantTimeByteEq(last, byte(padding)) //nolint:gosec // at most blockSize
	for i := 1; i <= blockSize; i++ {
		outside := 1 - subtle.ConstantTimeLessOrEq(i, padding)
		good &= outside | subtle.ConstantTimeByteEq(b[len(b)-i], last)
	}
	return len(b) - padding, good
}
