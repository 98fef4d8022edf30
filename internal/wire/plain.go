package wire

// PhoneAnswer is the answer of getuserphonenumber.
type PhoneAnswer struct {
	Status
	PhoneInfo Phone `json:"phone_info"`
}

// plainReader is an answer that can read itself from plain JSON.
type plainReader interface {
	// readPlain reports whether body was plain. If not, what it has read so far
	// means nothing.
	readPlain(body []byte) bool
}

// readPlain implements plainReader. This answer is read for every code, and
// encoding/json takes most of the time of a call.
func (a *PhoneAnswer) readPlain(body []byte) bool {
	var seen PhoneAnswer
	p := plain{rest: body}
	for p.member() {
		switch string(p.name) {
		case "errcode":
			seen.ErrCode = p.int()
		case "errmsg":
			seen.ErrMsg = p.text()
		case "phone_info":
			p.phone(&seen.PhoneInfo)
		default:
			return false
		}
	}
	if !p.end() {
		return false
	}
	*a = seen
	return true
}

func (p *plain) phone(v *Phone) {
	outer := p.enter()
	for p.member() {
		switch string(p.name) {
		case "phoneNumber":
			v.PhoneNumber = p.text()
		case "purePhoneNumber":
			v.PurePhoneNumber = p.text()
		case "countryCode":
			v.CountryCode = p.text()
		case "watermark":
			p.watermark(&v.Watermark)
		default:
			p.failed = true
		}
	}
	p.leave(outer)
}

func (p *plain) watermark(v *Watermark) {
	outer := p.enter()
	for p.member() {
		switch string(p.name) {
		case "timestamp":
			v.Timestamp = p.int()
		case "appid":
			v.AppID = p.text()
		default:
			p.failed = true
		}
	}
	p.leave(outer)
}

// plain reads JSON as WeChat nearly always writes it: objects, strings of
// printable ASCII without escapes, and small whole numbers. It fails on
// everything else, which encoding/json then reads.
type plain struct {
	rest   []byte
	name   []byte // of the member that was found last
	begun  bool   // the object has a member already
	closed bool   // the object has ended
	failed bool
}

// member moves to the value of the object's next member. It returns false at
// the end of the object, and if the reader has failed.
func (p *plain) member() bool {
	opening := byte('{')
	if p.begun {
		opening = ','
	}
	if p.failed || p.closed {
		return false
	}
	if p.begun && p.skip('}') {
		p.closed = true
		return false
	}
	if !p.skip(opening) {
		p.failed = true
		return false
	}
	if !p.begun && p.skip('}') {
		p.begun, p.closed = true, true
		return false
	}
	p.begun = true
	p.name = p.quoted()
	if !p.skip(':') {
		p.failed = true
	}
	return !p.failed
}

// enter begins an object inside this one and returns the state of this one.
func (p *plain) enter() (outer plain) {
	outer = *p
	p.begun, p.closed = false, false
	return outer
}

// leave goes on with the outer object.
func (p *plain) leave(outer plain) {
	if !p.closed {
		p.failed = true
	}
	p.begun, p.closed = outer.begun, outer.closed
}

// end reports whether the outermost object was all there is.
func (p *plain) end() bool {
	p.space()
	return p.closed && !p.failed && len(p.rest) == 0
}

func (p *plain) space() {
	for len(p.rest) > 0 {
		switch p.rest[0] {
		case ' ', '\t', '\n', '\r':
			p.rest = p.rest[1:]
		default:
			return
		}
	}
}

// skip moves past c if that comes next.
func (p *plain) skip(c byte) bool {
	p.space()
	if len(p.rest) == 0 || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

func (p *plain) quoted() []byte {
	if !p.skip('"') {
		p.failed = true
		return nil
	}
	for i, c := range p.rest {
		switch {
		case c == '"':
			text := p.rest[:i]
			p.rest = p.rest[i+1:]
			return text
		case c < ' ' || c == '\\' || c >= 0x80:
			p.failed = true
			return nil
		}
	}
	p.failed = true
	return nil
}

func (p *plain) text() Text {
	text := p.quoted()
	if string(text) == "ok" {
		return "ok" // nearly every errmsg, without an allocation
	}
	return Text(text)
}

func (p *plain) int() Int {
	p.space()
	end := 0
	for end < len(p.rest) && '0' <= p.rest[end] && p.rest[end] <= '9' {
		end++
	}
	v, ok := shortInt(p.rest[:end])
	if !ok || end > 1 && p.rest[0] == '0' {
		p.failed = true
		return Int{}
	}
	p.rest = p.rest[end:]
	return Int{Value: v, Present: true}
}
