package payload

// sextets has the six bits that a character of base64 stands for, and notBase64
// for every other character.
var sextets = func() (of [256]byte) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for c := range of {
		of[c] = notBase64
	}
	for bits, c := range []byte(alphabet) {
		of[c] = byte(bits)
	}
	return of
}()

const notBase64 = 1 << 7

// DecodeBase64 decodes text into dst, which has room for three bytes for every
// four characters, and returns the bytes. It returns nil if text is not base64
// in its one canonical spelling: padded, without line breaks, and with zeros for
// the bits that belong to no byte.
//
// encoding/base64 takes line breaks even if it is strict, and has half the
// speed for texts as short as WeChat's.
func DecodeBase64(dst []byte, text string) []byte {
	if len(text)%4 != 0 {
		return nil
	}
	padding := 0
	for padding < min(2, len(text)) && text[len(text)-1-padding] == '=' {
		padding++
	}
	n, unknown := 0, byte(0)
	for ; len(text) > 4; text = text[4:] {
		unknown |= decodeFour((*[3]byte)(dst[n:]), text[0], text[1], text[2], text[3])
		n += 3
	}
	if len(text) == 4 {
		last := [4]byte{'A', 'A', 'A', 'A'} // zeros
		copy(last[:], text[:4-padding])
		unknown |= decodeFour((*[3]byte)(dst[n:]), last[0], last[1], last[2], last[3])
		n += 3
	}
	var spare byte
	for _, bits := range dst[n-padding : n] {
		spare |= bits
	}
	if unknown&notBase64 != 0 || spare != 0 {
		return nil
	}
	return dst[:n-padding]
}

// decodeFour decodes four characters into three bytes. The result has notBase64
// set if one of them is not of the alphabet.
func decodeFour(into *[3]byte, c0, c1, c2, c3 byte) (unknown byte) {
	s0, s1, s2, s3 := sextets[c0], sextets[c1], sextets[c2], sextets[c3]
	into[0], into[1], into[2] = s0<<2|s1>>4, s1<<4|s2>>2, s2<<6|s3
	return s0 | s1 | s2 | s3
}
