package lvm

import (
	"fmt"
	"strconv"
)

// Limits of the text, besides its length.
const (
	maxDepth = 8       // sections in sections; lvm2 writes four
	maxNodes = 100_000 // sections, values and the members of lists
	maxWord  = 4096    // bytes of one value
)

// A section is what stands between braces.
type section struct {
	names    []string // of its sections, in order
	sections map[string]*section
	values   map[string][]value // a value that is no list has one
}

// A value is a string or a number.
type value struct {
	text   string
	number int64
	digits bool // it is a number
}

// A parser reads the text format of lvm2's metadata and configuration:
// libdm/libdm-config.c.
type parser struct {
	text  []byte
	at    int
	nodes int
}

func parse(text []byte) (*section, error) {
	p := &parser{text: text}
	s, err := p.section(0)
	if err != nil {
		return nil, fmt.Errorf("byte %d: %w", p.at, err)
	}
	return s, nil
}

// section reads up to the closing brace, or the outermost one to the end.
func (p *parser) section(depth int) (*section, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("more than %d sections in each other", maxDepth)
	}
	s := &section{sections: map[string]*section{}, values: map[string][]value{}}
	for {
		c := p.next()
		switch {
		case c == 0 && depth == 0:
			return s, nil
		case c == 0:
			return nil, fmt.Errorf("a section does not end")
		case c == '}' && depth > 0:
			p.at++
			return s, nil
		}
		if err := p.entry(s, depth); err != nil {
			return nil, err
		}
	}
}

// entry reads NAME { … } or NAME = VALUE.
func (p *parser) entry(s *section, depth int) error {
	name := p.word()
	if name == "" {
		return fmt.Errorf("want a name")
	}
	if _, twice := s.values[name]; twice || s.sections[name] != nil {
		return fmt.Errorf("%.64q stands twice", name)
	}
	if err := p.count(); err != nil {
		return err
	}

	var err error
	switch c := p.next(); c {
	case '{':
		p.at++
		s.names = append(s.names, name)
		s.sections[name], err = p.section(depth + 1)
	case '=':
		p.at++
		s.values[name], err = p.value()
	default:
		err = fmt.Errorf("want { or = behind %.64q", name)
	}
	return err
}

func (p *parser) count() error {
	if p.nodes++; p.nodes > maxNodes {
		return fmt.Errorf("more than %d values", maxNodes)
	}
	return nil
}

// value reads a single value or a list.
func (p *parser) value() ([]value, error) {
	if p.next() != '[' {
		v, err := p.single()
		return []value{v}, err
	}
	p.at++
	list := []value{}
	for {
		switch p.next() {
		case ']':
			p.at++
			return list, nil
		case ',':
			p.at++
			continue
		}
		v, err := p.single()
		if err != nil {
			return nil, err
		}
		if err := p.count(); err != nil {
			return nil, err
		}
		list = append(list, v)
	}
}

func (p *parser) single() (value, error) {
	if p.next() == '"' {
		return p.quoted()
	}
	w := p.word()
	if w == "" {
		return value{}, fmt.Errorf("want a value")
	}
	n, err := strconv.ParseInt(w, 10, 64)
	return value{w, n, err == nil}, nil
}

// quoted reads a string; a backslash stands before quotes and backslashes.
func (p *parser) quoted() (value, error) {
	var text []byte
	for p.at++; p.at < len(p.text) && len(text) <= maxWord; p.at++ {
		c := p.text[p.at]
		switch {
		case c == '"':
			p.at++
			return value{text: string(text)}, nil
		case c == '\\' && p.at+1 < len(p.text):
			p.at++
			c = p.text[p.at]
		}
		text = append(text, c)
	}
	return value{}, fmt.Errorf("a string does not end after %d bytes", len(text))
}

// word reads up to a blank or a sign of the grammar.
func (p *parser) word() string {
	begin := p.at
	for p.at < len(p.text) && p.at-begin < maxWord && !isSign(p.text[p.at]) {
		p.at++
	}
	return string(p.text[begin:p.at])
}

func isSign(c byte) bool {
	switch c {
	case '{', '}', '[', ']', '=', ',', '"', '#':
		return true
	}
	return c <= ' '
}

// next skips blanks and comments and returns the byte there, 0 at the end.
func (p *parser) next() byte {
	comment := false
	for ; p.at < len(p.text); p.at++ {
		c := p.text[p.at]
		switch {
		case c == '\n':
			comment = false
		case c == '#':
			comment = true
		case !comment && c > ' ':
			return c
		}
	}
	return 0
}

// string is a value that is one string, "" if there is none.
func (s *section) string(name string) string {
	if v := s.values[name]; len(v) == 1 && !v[0].digits {
		return v[0].text
	}
	return ""
}

// has tells whether a list has a word.
func (s *section) has(name, word string) bool {
	for _, v := range s.values[name] {
		if !v.digits && v.text == word {
			return true
		}
	}
	return false
}

// number is a value that is a number from least to most.
func (s *section) number(name string, least, most int64) (int64, error) {
	v := s.values[name]
	if len(v) != 1 || !v[0].digits {
		return 0, fmt.Errorf("%s is no number", name)
	}
	if n := v[0].number; n < least || n > most {
		return 0, fmt.Errorf("%s is %d, want %d to %d", name, n, least, most)
	}
	return v[0].number, nil
}
