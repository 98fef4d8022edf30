package payload

// ShortestPhone returns how long a text must be so that [ReadPhone] can take
// it, when it names appID.
func ShortestPhone(appID string) int {
	return len(`{"phoneNumber":1,"purePhoneNumber":1,"countryCode":1,"watermark":{"appid":""}}`) + len(appID)
}

// ShortestData is for [ReadWatermark] what [ShortestPhone] is for [ReadPhone].
func ShortestData(appID string) int { return len(`{"watermark":{"appid":""}}`) + len(appID) }

// IsPhone returns 1 if b is a phone payload for appID, and otherwise 0. How long
// that takes depends on the lengths of b and appID alone, so that a refusal does
// not tell what it was for.
//
// Whatever [ReadPhone] takes for appID is one. ReadPhone still refuses some that
// are: those that have a known key in another spelling, or one but appid twice,
// a timestamp that is none, numbers that disagree, a number or word that is not
// whole, a comma too many, something behind the object, or anything wrong three
// levels deep. Random bytes make none of these. Whoever can make one can also
// make one that is read, with other bytes in that place, so that being refused
// late tells nothing which a success would not tell.
func IsPhone(b []byte, appID string) int {
	var c checker
	c.check(b)
	phone, _ := c.verdict(appID)
	return int(phone) //nolint:gosec // 0 or 1
}

// IsData is for [ReadWatermark] what [IsPhone] is for [ReadPhone].
func IsData(b []byte, appID string) int {
	var c checker
	c.check(b)
	phone, data := c.verdict(appID)
	return int(phone | data) //nolint:gosec // 0 or 1
}

// checker is the grammar of [reader] over streams.
type checker struct {
	streams

	bad      uint64 // not 0 as soon as anything is wrong
	inString uint64 // all ones if the block begins in a string
	escaped  uint64 // 1 if the first byte of the block is escaped
	depth    uint64 // in how many objects and arrays the block begins

	// Not 0 once there was a {, or that key.
	started, seenWatermark, seenAppID, seenPhone, seenPure, seenCountry uint64

	name letters // the appid

	// What next and the like keep, for each part of the grammar.
	ofUTF8                      [10]uint64
	ofStrings                   [8]uint64
	ofScalars, ofLevel2, ofKeys uint64
	ofOrder                     [4][2]uint64
	ofFields                    [4][2]uint64
	ofNumbers                   [3]uint64
	ofWatermark, ofTimestamp    [10]uint64
	ofAppID                     [6]uint64
	ofCountryCode               [12]uint64
	ofPure                      [5]uint64
	ofPhoneNumber               [13]uint64
}

// text is what the grammar is made of, for one block.
type text struct {
	space, digit                   uint64 // digits also within strings
	opening, closing               uint64 // quotes
	inside                         uint64 // strings, from their opening quote on
	object, array                  uint64 // { and [
	objectEnd, arrayEnd            uint64 // } and ]
	colon, comma                   uint64
	scalar, scalarStart, scalarEnd uint64 // numbers and words; behind them
	level0, level1, level2, deep   uint64 // in so many objects and arrays, or more
	inObject                       uint64 // in an object, down to the second level
	keyEnd                         uint64 // the closing quotes of keys
	spelled                        names
}

// names marks, for each known key, the byte behind an opening quote and the
// letters of that key.
type names struct {
	watermark, appID, timestamp               uint64
	phoneNumber, purePhoneNumber, countryCode uint64
}

// blank is JSON's white space.
var blank = func() (block [64]byte) {
	for i := range block {
		block[i] = ' '
	}
	return block
}()

func (c *checker) check(b []byte) {
	for len(b) >= len(blank) {
		c.block((*[64]byte)(b))
		b = b[len(blank):]
	}
	if len(b) > 0 {
		block := blank
		copy(block[:], b)
		c.block(&block)
	}
}

func (c *checker) block(block *[64]byte) {
	c.load(block)
	var t text
	c.utf8()
	c.strings(&t)
	c.names(&t)
	c.tokens(&t)
	c.nesting(&t)
	c.order(&t)
	c.fields(&t)
}

// verdict returns 1 for what all blocks together are: a phone payload, or one
// that has none of its keys.
func (c *checker) verdict(appID string) (phone, data uint64) {
	ok := any1(c.started) & any1(c.seenWatermark) & any1(c.seenAppID) & c.name.are(appID)
	ok &^= any1(c.bad | c.inString | c.depth)
	phone = ok & any1(c.seenPhone) & any1(c.seenPure) & any1(c.seenCountry)
	return phone, ok &^ any1(c.seenPhone|c.seenPure|c.seenCountry)
}

// utf8 checks that the block is UTF-8.
func (c *checker) utf8() {
	h, p, carry := &c.high, &c.planes, &c.ofUTF8
	continuation := h[0x8] | h[0x9] | h[0xA] | h[0xB]
	four := h[0xF] &^ p[3] &^ (p[2] & (p[1] | p[0])) // F0 to F4
	never := c.is(0xC0) | c.is(0xC1) | h[0xF]&^four
	two := (h[0xC] | h[0xD]) &^ never
	second4 := next(four, &carry[0])
	second34 := second4 | next(h[0xE], &carry[1])
	third4 := next(second4, &carry[2])
	expected := next(two, &carry[3]) | second34 | next(second34, &carry[4]) | next(third4, &carry[5])
	c.bad |= never | (expected ^ continuation)
	// Longer than needed, a surrogate, and beyond the last character.
	c.bad |= next(c.is(0xE0), &carry[6]) & (h[0x8] | h[0x9])
	c.bad |= next(c.is(0xED), &carry[7]) & (h[0xA] | h[0xB])
	c.bad |= next(c.is(0xF0), &carry[8]) & h[0x8]
	c.bad |= next(c.is(0xF4), &carry[9]) &^ h[0x8]
}

// strings finds the strings and checks what is in them.
func (c *checker) strings(t *text) {
	carry, p := &c.ofStrings, &c.planes
	backslash := c.is('\\')
	escape := everySecond(backslash &^ c.escaped)
	escaped := escape<<1 | c.escaped
	c.escaped = escape >> 63

	quotes := c.is('"') &^ escaped
	t.inside = within(quotes, &c.inString)
	t.opening, t.closing = quotes&t.inside, quotes&^t.inside

	unicode := escaped & c.is('u')
	known := c.is('"') | backslash | c.is('/') | c.is('b') | c.is('f') | c.is('n') | c.is('r') | c.is('t') | unicode
	bad := escaped&^known | t.inside&(c.high[0]|c.high[1]) // control characters
	t.digit = c.high[3] &^ (p[3] & (p[2] | p[1]))
	letters := (c.high[4] | c.high[6]) &^ p[3] & (p[0] | p[1] | p[2]) &^ (p[0] & p[1] & p[2]) // A to F
	hex := t.digit | letters
	first := next(unicode, &carry[0])
	second := next(first, &carry[1])
	third := next(second, &carry[2])
	bad |= (first | second | third | next(third, &carry[3])) &^ hex
	// Of surrogates, a high half must be followed by a low one.
	surrogate := next(first&(c.is('D')|c.is('d')), &carry[4])
	lowHalf := surrogate & letters & (p[2] | p[1]&p[0])
	highHalf := surrogate & hex &^ lowHalf & (c.is('8') | c.is('9') | letters)
	following := later(highHalf, 3, &carry[5])
	bad |= following &^ escape
	following = next(following, &carry[6])
	bad |= following&^unicode | (later(following, 2, &carry[7]) ^ lowHalf)
	c.bad |= bad
}

// names finds the names of the known keys, wherever they stand.
func (c *checker) names(t *text) {
	s := &t.spelled
	s.watermark = c.spelledWatermark(t.opening)
	s.appID = c.spelledAppID(t.opening)
	s.timestamp = c.spelledTimestamp(t.opening)
	s.phoneNumber, s.purePhoneNumber = c.spelledPhoneNumbers(t.opening)
	s.countryCode = c.spelledCountryCode(t.opening)
}

// tokens finds what is outside strings.
func (c *checker) tokens(t *text) {
	outside := ^(t.inside | t.closing)
	t.space = outside & (c.is(' ') | c.is('\t') | c.is('\n') | c.is('\r'))
	t.object, t.objectEnd = outside&c.is('{'), outside&c.is('}')
	t.array, t.arrayEnd = outside&c.is('['), outside&c.is(']')
	t.colon, t.comma = outside&c.is(':'), outside&c.is(',')
	t.scalar = outside &^ (t.space | t.object | t.objectEnd | t.array | t.arrayEnd | t.colon | t.comma)
	numeral := t.digit | c.is('+') | c.is('-') | c.is('.') | c.is('E') | c.is('e')
	word := c.is('t') | c.is('r') | c.is('u') | c.is('f') | c.is('a') | c.is('l') | c.is('s') | c.is('n')
	c.bad |= t.scalar &^ (numeral | word)
	behind := next(t.scalar, &c.ofScalars)
	t.scalarStart, t.scalarEnd = t.scalar&^behind, behind&^t.scalar
}

// nesting finds in how many objects and arrays each byte is, and whether in an
// object. The outermost must be one.
func (c *checker) nesting(t *text) {
	d0, d1, d2, d3, d4, d5, d6, d7 := c.depths(t.object|t.array, t.objectEnd|t.arrayEnd)
	c.bad |= d7 | ^d6 // 64 or more, or less than none
	few := ^(d2 | d3 | d4 | d5)
	t.level0 = few &^ (d1 | d0)
	t.level1 = few &^ d1 & d0
	t.level2 = few & d1 &^ d0
	deeper := ^(t.level0 | t.level1)
	t.deep = deeper &^ t.level2
	object := through(t.object&t.level2, deeper, &c.ofLevel2)
	t.inObject = t.level1 | object&t.level2
	c.bad |= (t.objectEnd ^ object&^deeper) & t.level1
}

// depths returns how many of open, less those of closed, there are up to each
// byte, and 64 more, in binary from the lowest bit on.
func (c *checker) depths(open, closed uint64) (_, _, _, _, _, _, _, _ uint64) {
	const each = 0x0101010101010101
	// Before each eight bytes: the product sums up the bytes below each one.
	start := c.depth&63 + 64
	behind := (onesInBytes(open)+start)*each - onesInBytes(closed)*each
	before := behind<<8 | start
	c.depth = behind>>56 - 64
	// And then at the first, the second and so on of each eight.
	x0 := before + open&each - closed&each
	x1 := x0 + open>>1&each - closed>>1&each
	x2 := x1 + open>>2&each - closed>>2&each
	x3 := x2 + open>>3&each - closed>>3&each
	x4 := x3 + open>>4&each - closed>>4&each
	x5 := x4 + open>>5&each - closed>>5&each
	x6 := x5 + open>>6&each - closed>>6&each
	x7 := x6 + open>>7&each - closed>>7&each
	return transposeBits(x0, x1, x2, x3, x4, x5, x6, x7)
}

// onesInBytes returns how many bits are set in each byte of x.
func onesInBytes(x uint64) uint64 {
	x -= x >> 1 & lower1
	x = x&lower2 + x>>2&lower2
	return (x + x>>4) & lower4
}

// order checks that each token may stand behind the one before it. In an
// object that is three levels deep or more, what follows a comma may also be a
// value.
func (c *checker) order(t *text) {
	carry := &c.ofOrder
	comma := t.comma & (t.inObject | t.deep)
	members := nextBeyond(t.object|comma, t.space, &carry[0])
	values := nextBeyond(t.array|t.colon|t.comma&^t.inObject, t.space, &carry[1])
	t.keyEnd = beyond(t.opening&members, t.inside, &c.ofKeys)
	afterKey := nextBeyond(t.keyEnd, t.space, &carry[2])
	ends := t.closing&(^t.keyEnd|t.deep) | t.objectEnd | t.arrayEnd
	afterValue := beyond(next(ends, &carry[3][0])|t.scalarEnd, t.space, &carry[3][1])

	open := t.object | t.array
	top := open & t.level1
	c.started |= top
	bad := top &^ t.object
	bad |= t.level0 &^ (t.space | t.objectEnd)
	bad |= t.opening &^ (members | values)
	bad |= (open&^top | t.scalarStart) &^ values
	bad |= t.colon &^ afterKey
	bad |= t.comma &^ afterValue
	bad |= t.objectEnd &^ (members | afterValue)
	bad |= t.arrayEnd &^ (values | afterValue)
	c.bad |= bad
}

// fields checks the known keys and their values.
func (c *checker) fields(t *text) {
	carry, spelled := &c.ofFields, &t.spelled
	top := t.keyEnd & t.level1
	watermark := top & spelled.watermark
	c.seenWatermark |= watermark
	watermark = c.values(t, watermark, &carry[0])
	deeper := ^(t.level0 | t.level1)
	in := t.keyEnd & t.level2 & through(watermark&t.object, deeper, &carry[3][0])

	appid := in & spelled.appID
	c.bad |= appid&(appid-1) | appid&-any1(c.seenAppID) // two would make one name
	c.seenAppID |= appid
	appid = c.values(t, appid, &carry[1])
	c.name.push(through(appid, t.inside, &carry[3][1])&t.inside&^t.opening, &c.planes)

	phone, pure, country := top&spelled.phoneNumber, top&spelled.purePhoneNumber, top&spelled.countryCode
	c.seenPhone |= phone
	c.seenPure |= pure
	c.seenCountry |= country
	numbers := c.values(t, phone|pure|country|in&spelled.timestamp, &carry[2])
	c.bad |= watermark&^t.object | appid&^t.opening | c.notNumbers(t, numbers)
}

// values returns where the values begin of the keys that end at ends.
func (c *checker) values(t *text, ends uint64, carries *[2]uint64) uint64 {
	return nextBeyond(ends, t.space|t.colon, carries)
}

// notNumbers returns where the values that begin at start are unlike what
// [reader.number] reads.
func (c *checker) notNumbers(t *text, start uint64) uint64 {
	carry := &c.ofNumbers
	class := t.inside | t.scalar
	marks := through(start, class, &carry[0]) & class &^ t.opening
	others := t.inside & (c.is('+') | c.is('-') | c.is(' ') | c.is('(') | c.is(')'))
	// Behind what else may be in a string there must be a digit.
	digit := beyond(next(start&t.opening, &carry[1]), others, &carry[2])
	return start&^(t.opening|t.scalarStart) | (marks|digit)&^(t.digit|others)
}

// Each of these moves marks from opening quotes to behind the letters of a key. A
// loop over the letters would take twice as long.

func (c *checker) spelledWatermark(m uint64) uint64 {
	k := &c.ofWatermark
	m = next(next(m, &k[0])&c.is('w'), &k[1]) & c.is('a')
	m = next(next(m, &k[2])&c.is('t'), &k[3]) & c.is('e')
	m = next(next(m, &k[4])&c.is('r'), &k[5]) & c.is('m')
	m = next(next(m, &k[6])&c.is('a'), &k[7]) & c.is('r')
	return next(next(m, &k[8])&c.is('k'), &k[9])
}

func (c *checker) spelledAppID(m uint64) uint64 {
	k := &c.ofAppID
	m = next(next(m, &k[0])&c.is('a'), &k[1]) & c.is('p')
	m = next(next(m, &k[2])&c.is('p'), &k[3]) & c.is('i')
	return next(next(m, &k[4])&c.is('d'), &k[5])
}

func (c *checker) spelledTimestamp(m uint64) uint64 {
	k := &c.ofTimestamp
	m = next(next(m, &k[0])&c.is('t'), &k[1]) & c.is('i')
	m = next(next(m, &k[2])&c.is('m'), &k[3]) & c.is('e')
	m = next(next(m, &k[4])&c.is('s'), &k[5]) & c.is('t')
	m = next(next(m, &k[6])&c.is('a'), &k[7]) & c.is('m')
	return next(next(m, &k[8])&c.is('p'), &k[9])
}

func (c *checker) spelledCountryCode(m uint64) uint64 {
	k := &c.ofCountryCode
	m = next(next(m, &k[0])&c.is('c'), &k[1]) & c.is('o')
	m = next(next(m, &k[2])&c.is('u'), &k[3]) & c.is('n')
	m = next(next(m, &k[4])&c.is('t'), &k[5]) & c.is('r')
	m = next(next(m, &k[6])&c.is('y'), &k[7]) & c.is('C')
	m = next(next(m, &k[8])&c.is('o'), &k[9]) & c.is('d')
	return next(next(m, &k[10])&c.is('e'), &k[11])
}

func (c *checker) spelledPhoneNumbers(m uint64) (phone, pure uint64) {
	u := &c.ofPure
	p := next(m, &u[0]) & c.is('p')
	m = next(next(p, &u[1])&c.is('u'), &u[2]) & c.is('r')
	pureP := next(next(m, &u[3])&c.is('e'), &u[4]) & c.is('P')
	// The rest is the same, so both are moved at once.
	k := &c.ofPhoneNumber
	m = next(next(p|pureP, &k[0])&c.is('h'), &k[1]) & c.is('o')
	m = next(next(m, &k[2])&c.is('n'), &k[3]) & c.is('e')
	m = next(next(m, &k[4])&c.is('N'), &k[5]) & c.is('u')
	m = next(next(m, &k[6])&c.is('m'), &k[7]) & c.is('b')
	m = next(next(m, &k[8])&c.is('e'), &k[9]) & c.is('r')
	m = next(m, &k[10])
	const rest = len("honeNumber") + 1
	return m & later(p, rest, &k[11]), m & later(pureP, rest, &k[12])
}
