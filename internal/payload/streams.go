package payload

import (
	"encoding/binary"
	"math/bits"
)

// streams holds one block of 64 bytes of text turned on its side. Bit i of a
// stream is about byte i of the block, so that one operation is about all 64
// bytes at once and takes the same time whatever they are. The methods have no
// branch and no index that depends on the text.
//
// A stream of marks is moved forward only. What leaves the block is kept in a
// carry, which comes back in the next one: each call of next and the like has
// one of its own, and is made for every block.
type streams struct {
	low, high [16]uint64 // whose lower, or higher, four bits are the index
	planes    [8]uint64  // whose bit of that number is set
}

// load begins the next block.
func (s *streams) load(block *[64]byte) {
	p0, p1, p2, p3, p4, p5, p6, p7 := planesOf(block)
	s.planes = [8]uint64{p0, p1, p2, p3, p4, p5, p6, p7}
	nibbles(&s.low, p0, p1, p2, p3)
	nibbles(&s.high, p4, p5, p6, p7)
}

// planesOf returns for each bit of a byte, from the lowest on, which bytes of
// the block have it set.
func planesOf(block *[64]byte) (_, _, _, _, _, _, _, _ uint64) {
	x0 := binary.LittleEndian.Uint64(block[0:])
	x1 := binary.LittleEndian.Uint64(block[8:])
	x2 := binary.LittleEndian.Uint64(block[16:])
	x3 := binary.LittleEndian.Uint64(block[24:])
	x4 := binary.LittleEndian.Uint64(block[32:])
	x5 := binary.LittleEndian.Uint64(block[40:])
	x6 := binary.LittleEndian.Uint64(block[48:])
	x7 := binary.LittleEndian.Uint64(block[56:])
	// Exchange which word a byte is in and where it is in that word.
	x0, x4 = swap(x0, x4, 32, lower32)
	x1, x5 = swap(x1, x5, 32, lower32)
	x2, x6 = swap(x2, x6, 32, lower32)
	x3, x7 = swap(x3, x7, 32, lower32)
	x0, x2 = swap(x0, x2, 16, lower16)
	x1, x3 = swap(x1, x3, 16, lower16)
	x4, x6 = swap(x4, x6, 16, lower16)
	x5, x7 = swap(x5, x7, 16, lower16)
	x0, x1 = swap(x0, x1, 8, lower8)
	x2, x3 = swap(x2, x3, 8, lower8)
	x4, x5 = swap(x4, x5, 8, lower8)
	x6, x7 = swap(x6, x7, 8, lower8)
	return transposeBits(x0, x1, x2, x3, x4, x5, x6, x7)
}

// transposeBits exchanges, in each of the eight bytes, which word a bit is in
// and where it is in its byte.
func transposeBits(x0, x1, x2, x3, x4, x5, x6, x7 uint64) (_, _, _, _, _, _, _, _ uint64) {
	x0, x4 = swap(x0, x4, 4, lower4)
	x1, x5 = swap(x1, x5, 4, lower4)
	x2, x6 = swap(x2, x6, 4, lower4)
	x3, x7 = swap(x3, x7, 4, lower4)
	x0, x2 = swap(x0, x2, 2, lower2)
	x1, x3 = swap(x1, x3, 2, lower2)
	x4, x6 = swap(x4, x6, 2, lower2)
	x5, x7 = swap(x5, x7, 2, lower2)
	x0, x1 = swap(x0, x1, 1, lower1)
	x2, x3 = swap(x2, x3, 1, lower1)
	x4, x5 = swap(x4, x5, 1, lower1)
	x6, x7 = swap(x6, x7, 1, lower1)
	return x0, x1, x2, x3, x4, x5, x6, x7
}

// Each marks the lower half of every 2, 4, 8, 16, 32 or 64 bits.
const (
	lower1  = 0x5555555555555555
	lower2  = 0x3333333333333333
	lower4  = 0x0F0F0F0F0F0F0F0F
	lower8  = 0x00FF00FF00FF00FF
	lower16 = 0x0000FFFF0000FFFF
	lower32 = 0x00000000FFFFFFFF
)

// swap exchanges, in every 2n bits, the upper n of a with the lower n of b, which
// lower marks.
func swap(a, b uint64, n uint, lower uint64) (uint64, uint64) {
	t := (a>>n ^ b) & lower
	return a ^ t<<n, b ^ t
}

// nibbles sets into[n] to where the four given bits are those of n.
func nibbles(into *[16]uint64, b0, b1, b2, b3 uint64) {
	r0, r1, r2, r3 := ^(b0 | b1), b0&^b1, b1&^b0, b0&b1
	l0, l1, l2, l3 := ^(b2 | b3), b2&^b3, b3&^b2, b2&b3
	into[0], into[1], into[2], into[3] = l0&r0, l0&r1, l0&r2, l0&r3
	into[4], into[5], into[6], into[7] = l1&r0, l1&r1, l1&r2, l1&r3
	into[8], into[9], into[10], into[11] = l2&r0, l2&r1, l2&r2, l2&r3
	into[12], into[13], into[14], into[15] = l3&r0, l3&r1, l3&r2, l3&r3
}

// is returns where c stands. c itself is no secret.
func (s *streams) is(c byte) uint64 { return s.high[c>>4] & s.low[c&15] }

// next moves each mark to the following byte.
func next(marks uint64, carry *uint64) uint64 {
	moved := marks<<1 | *carry
	*carry = marks >> 63
	return moved
}

// later moves each mark by n bytes, less than a block.
func later(marks uint64, n int, carry *uint64) uint64 {
	moved := marks<<(n&63) | *carry
	*carry = marks >> ((64 - n) & 63)
	return moved
}

// through returns what each mark passes that walks as long as it stands on a
// byte of class, and where it then stops. It must not start amid a run.
func through(marks, class uint64, carry *uint64) uint64 {
	// The carry of an addition runs through ones as the mark shall do.
	sum, out := bits.Add64(marks&class, class, *carry)
	*carry = out
	return sum ^ class | marks
}

// beyond returns where a mark stops that walks through class.
func beyond(marks, class uint64, carry *uint64) uint64 {
	return through(marks, class, carry) &^ class
}

// nextBeyond moves each mark to the following byte and then through class.
func nextBeyond(marks, class uint64, carries *[2]uint64) uint64 {
	return beyond(next(marks, &carries[0]), class, &carries[1])
}

// within returns a stream that is set from each odd mark on up to the byte
// before the next. state is all ones if the block begins so, and moves on.
func within(marks uint64, state *uint64) uint64 {
	marks ^= marks << 1
	marks ^= marks << 2
	marks ^= marks << 4
	marks ^= marks << 8
	marks ^= marks << 16
	marks ^= marks << 32
	marks ^= *state
	*state = -(marks >> 63)
	return marks
}

// everySecond returns the first, third and so on of each run of ones.
func everySecond(runs uint64) uint64 {
	const even = lower1
	// Adding its first bit to a run clears all of it.
	fromEven := runs &^ (runs + runs&^(runs<<1)&even)
	return fromEven&even | runs&^(fromEven|even)
}

// any1 returns 1 if x has a bit set.
func any1(x uint64) uint64 { return (x | -x) >> 63 }

// letters are the first 64 bytes of a piece of text, which may lie in more than
// one block.
type letters struct {
	planes [8]uint64
	n      uint64
}

// push appends what is under marks, which are in one row.
func (l *letters) push(marks uint64, planes *[8]uint64) {
	// Not TrailingZeros64, which is a look-up on machines without it.
	start := uint(bits.OnesCount64(marks&-marks - 1))
	room := ^uint64(0) >> l.n << start
	for k := range l.planes {
		l.planes[k] |= bits.RotateLeft64(planes[k]&marks&room, int(l.n)-int(start)) //nolint:gosec // lengths
	}
	l.n += uint64(bits.OnesCount64(marks)) //nolint:gosec // not negative
}

// are returns 1 if the letters are those of name, as far as they go.
func (l *letters) are(name string) uint64 {
	var want [64]byte
	copy(want[:], name)
	p0, p1, p2, p3, p4, p5, p6, p7 := planesOf(&want)
	p := &l.planes
	differ := l.n ^ uint64(len(name))
	differ |= (p[0] ^ p0) | (p[1] ^ p1) | (p[2] ^ p2) | (p[3] ^ p3)
	differ |= (p[4] ^ p4) | (p[5] ^ p5) | (p[6] ^ p6) | (p[7] ^ p7)
	return 1 ^ any1(differ)
}
