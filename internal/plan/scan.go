package plan

import (
	"net/netip"
	"strconv"
)

// A scan reads a plan file that is exactly what Encode writes: keys in the
// order of the fields, no white space, strings without escapes. Whatever is
// otherwise is bad, and left to encoding/json, which says what it is. It is
// here for the time of a boot: encoding/json looks at all types of a plan by
// reflection first, in each of the processes that read one.
type scan struct {
	b   []byte
	at  int
	bad bool
}

// A presence says whether a key must be there, whatever its value, or is left
// out where the value is zero.
type presence bool

const (
	must presence = true
	may  presence = false
)

// A text is what is written as a plain string.
type text interface{ ~string }

// key takes a key if it is the next one.
func (s *scan) key(p presence, name string) bool {
	there := s.hasKey(name)
	s.bad = s.bad || p == must && !there
	return there
}

// omit says that a key that may be left out is there with the value zero.
func (s *scan) omit(p presence, zero bool) { s.bad = s.bad || p == may && zero }

func (s *scan) hasKey(name string) bool {
	rest := s.b[s.at:]
	comma := s.at > 0 && s.b[s.at-1] != '{'
	if s.bad || comma && (len(rest) == 0 || rest[0] != ',') {
		return false
	}
	if comma {
		rest = rest[1:]
	}
	n := len(name)
	if len(rest) < n+3 || rest[0] != '"' || string(rest[1:1+n]) != name || rest[1+n] != '"' || rest[2+n] != ':' {
		return false
	}
	s.at = len(s.b) - len(rest) + n + 3
	return true
}

// next takes some bytes if they are the next ones.
func (s *scan) next(what string) bool {
	if s.bad || len(s.b)-s.at < len(what) || string(s.b[s.at:s.at+len(what)]) != what {
		return false
	}
	s.at += len(what)
	return true
}

func (s *scan) want(what string) {
	if !s.next(what) {
		s.bad = true
	}
}

// plain tells whether a byte stands for itself in a string: encoding/json
// escapes the others that are ASCII.
func plain(c byte) bool {
	return c >= ' ' && c <= '~' && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
}

func (s *scan) word() string {
	s.want(`"`)
	from := s.at
	for s.at < len(s.b) && plain(s.b[s.at]) {
		s.at++
	}
	word := s.b[from:s.at]
	s.want(`"`)
	if s.bad {
		return ""
	}
	return string(word)
}

func scanText[T text](s *scan, p presence, name string, to *T) {
	if s.key(p, name) {
		*to = T(s.word())
		s.omit(p, *to == "")
	}
}

func scanInt[T ~int | ~int64 | ~uint32](s *scan, p presence, name string, to *T) {
	if !s.key(p, name) {
		return
	}
	from := s.at
	for s.at < len(s.b) && (s.b[s.at] == '-' || s.b[s.at] >= '0' && s.b[s.at] <= '9') {
		s.at++
	}
	digits := string(s.b[from:s.at])
	n, err := strconv.ParseInt(digits, 10, 64)
	if *to = T(n); err != nil || int64(*to) != n || strconv.FormatInt(n, 10) != digits {
		s.bad = true
	}
	s.omit(p, *to == 0)
}

func (s *scan) bool(p presence, name string, to *bool) {
	if s.key(p, name) {
		if *to = s.next("true"); !*to {
			s.want("false")
		}
		s.omit(p, !*to)
	}
}

// list reads a list that has elements: one takes the next. One that must be
// there is null without any, as encoding/json writes it.
func (s *scan) list(p presence, name string, one func()) {
	if !s.key(p, name) || p == must && s.next("null") {
		return
	}
	s.elements(one)
}

func (s *scan) elements(one func()) {
	s.want("[")
	one()
	for !s.bad && !s.next("]") {
		s.want(",")
		one()
	}
}

func scanTexts[T text](s *scan, p presence, name string, to *[]T) {
	s.list(p, name, func() { *to = append(*to, T(s.word())) })
}

func (s *scan) addrs(p presence, name string, to *[]netip.Addr) {
	s.list(p, name, func() {
		var a netip.Addr
		s.addr(&a)
		*to = append(*to, a)
	})
}

func (s *scan) addr(to *netip.Addr) {
	word := s.word()
	a, err := netip.ParseAddr(word)
	if *to = a; err != nil || a.String() != word {
		s.bad = true
	}
}

func (s *scan) addrAt(name string, to *netip.Addr) {
	if s.key(may, name) {
		s.addr(to)
	}
}

func (s *scan) prefixAt(p presence, name string, to *netip.Prefix) {
	if !s.key(p, name) {
		return
	}
	word := s.word()
	prefix, err := netip.ParsePrefix(word)
	if *to = prefix; err != nil || prefix.String() != word {
		s.bad = true
	}
}

func (s *scan) macAt(p presence, name string, to *MAC) {
	if !s.key(p, name) {
		return
	}
	word := s.word()
	if to.UnmarshalText([]byte(word)) != nil || string(*to) != word {
		s.bad = true
	}
	s.omit(p, *to == "")
}

// object reads an object by a function that takes its keys.
func (s *scan) object(fields func()) {
	s.want("{")
	fields()
	s.want("}")
}

// objectAt reads an object that is there, or is left out where it is zero.
func (s *scan) objectAt(p presence, name string, fields func()) {
	if s.key(p, name) {
		s.object(fields)
		s.omit(p, !s.bad && s.b[s.at-2] == '{')
	}
}
