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
	// Byte j of each x is about bit j of eight bytes.
	x0 := transposeBits(binary.LittleEndian.Uint64(block[0:]))
	x1 := transposeBits(binary.LittleEndian.Uint64(block[8:]))
	x2 := transposeBits(binary.LittleEndian.Uint64(block[16:]))
	x3 := transposeBits(binary.LittleEndian.Uint64(block[24:]))
	x4 := transposeBits(binary.LittleEndian.Uint64(block[32:]))
	x5 := transposeBits(binary.LittleEndian.Uint64(block[40:]))
	x6 := transposeBits(binary.LittleEndian.Uint64(block[48:]))
	x7 := transposeBits(binary.LittleEndian.Uint64(block[56:]))
	// Bring those about one bit together.
	x0, x4 = x0&0x00000000FFFFFFFF|x4<<32, x0>>32|x4&^0x00000000FFFFFFFF
	x1, x5 = x1&0x00000000FFFFFFFF|x5<<32, x1>>32|x5&^0x00000000FFFFFFFF
	x2, x6 = x2&0x00000000FFFFFFFF|x6<<32, x2>>32|x6&^0x00000000FFFFFFFF
	x3, x7 = x3&0x00000000FFFFFFFF|x7<<32, x3>>32|x7&^0x00000000FFFFFFFF
	x0, x2 = swap16(x0, x2)
	x1, x3 = swap16(x1, x3)
	x4, x6 = swap16(x4, x6)
	x5, x7 = swap16(x5, x7)
	x0, x1 = swap8(x0, x1)
	x2, x3 = swap8(x2, x3)
	x4, x5 = swap8(x4, x5)
	x6, x7 = swap8(x6, x7)
	s.planes = [8]uint64{x0, x1, x2, x3, x4, x5, x6, x7}
	nibbles(&s.low, x0, x1, x2, x3)
	nibbles(&s.high, x4, x5, x6, x7)
}

// transposeBits makes bit i of byte j what bit j of byte i was.
func transposeBits(x uint64) uint64 {
	t := (x ^ x>>7) & 0x00AA00AA00AA00AA
	x ^= t ^ t<<7
	t = (x ^ x>>14) & 0x0000CCCC0000CCCC
	x ^= t ^ t<<14
	t = (x ^ x>>28) & 0x00000000F0F0F0F0
	return x ^ t ^ t<<28
}

// swap16 exchanges the odd quarters of a with the even quarters of b.
func swap16(a, b uint64) (uint64, uint64) {
	t := (a>>16 ^ b) & 0x0000FFFF0000FFFF
	return a ^ t<<16, b ^ t
}

// swap8 exchanges the odd bytes of a with the even bytes of b.
func swap8(a, b uint64) (uint64, uint64) {
	t := (a>>8 ^ b) & 0x00FF00FF00FF00FF
	return a ^ t<<8, b ^ t
}

// nibbles sets into[n] to where the four given bits are those of n.
func nibbles(into *[16]uint64, b0, b1, b2, b3 uint64) {
	r0, r1, r2, r3 := ^(b0 | b1), b0&^b1, b1&^b0, b0&b1
	for n, left := range [4]uint64{^(b2 | b3), b2 &^ b3, b3 &^ b2, b2 & b3} {
		four := into[4*n : 4*n+4 : 4*n+4]
		four[0], four[1], four[2], four[3] = left&r0, left&r1, left&r2, left&r3
	}
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
	for n := 1; n < 64; n *= 2 {
		marks ^= marks << n
	}
	marks ^= *state
	*state = -(marks >> 63)
	return marks
}

// everySecond returns the first, third and so on of each run of ones.
func everySecond(runs uint64) uint64 {
	picked, both := runs&^(runs<<1), runs&(runs<<1)
	for n := 2; n < 64; n *= 2 {
		picked |= picked << n & both
		both &= both << n
	}
	return picked
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
	start := bits.OnesCount64(marks&-marks - 1)
	for k := range l.planes {
		l.planes[k] |= (planes[k] & marks) >> start << l.n
	}
	l.n += uint64(bits.OnesCount64(marks)) //nolint:gosec // not negative
}

// are returns 1 if the letters are those of name, as far as they go.
func (l *letters) are(name string) uint64 {
	differ := l.n ^ uint64(len(name))
	var text [64]byte
	var want [8]uint64
	for at, n := 0, copy(text[:], name); at < n; at += 8 {
		x := transposeBits(binary.LittleEndian.Uint64(text[at:]))
		for k := range want {
			want[k] |= x >> (8 * k) & 0xFF << at
		}
	}
	for k := range want {
		differ |= l.planes[k] ^ want[k]
	}
	return 1 ^ any1(differ)
}
