package dns

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// MaxMessage is the largest message that is read, in bytes: RFC 6762,
// section 17.
const MaxMessage = 9000

// maxRecords caps what is kept of one message, all sections together.
const maxRecords = 512

// A Type is the type of a record.
type Type uint16

// The types that are read and written here; others pass as Raw.
const (
	TypeA     Type = 1
	TypeCNAME Type = 5
	TypePTR   Type = 12
	TypeTXT   Type = 16
	TypeAAAA  Type = 28
	TypeSRV   Type = 33
	TypeNSEC  Type = 47
	TypeANY   Type = 255
)

// ClassIN is the internet; the top bit of the class is multicast DNS' own:
// RFC 6762, section 10.2 and 5.4.
const (
	ClassIN  = 1
	ClassANY = 255
	topBit   = 0x8000
)

// A Message is a DNS message.
type Message struct {
	ID            uint16
	Response      bool // QR
	Opcode        byte
	Authoritative bool // AA
	Truncated     bool // TC
	Recurse       bool // RD
	RCode         byte
	Questions     []Question
	Answers       []Record
	Authorities   []Record
	Additionals   []Record
}

// A Question asks for the records of a name.
type Question struct {
	Name    Name
	Type    Type
	Class   uint16
	Unicast bool // QU: the answer may come by unicast
}

// A Record is one resource record.
type Record struct {
	Name  Name
	Class uint16
	Flush bool // the records of this name and type are these and no others
	TTL   uint32
	Data  Data
}

// Data is what a record says.
type Data interface{ Type() Type }

// The kinds of Data.
type (
	A     struct{ Addr netip.Addr }
	AAAA  struct{ Addr netip.Addr }
	PTR   struct{ Target Name }
	CNAME struct{ Target Name }
	SRV   struct {
		Priority, Weight, Port uint16
		Target                 Name
	}
	TXT  struct{ Text string } // the character strings as they stand, lengths included
	NSEC struct {
		Next  Name
		Types string // bitmap as it stands: RFC 4034, section 4.1.2
	}
	Raw struct {
		Kind Type
		Data string
	}
)

func (A) Type() Type     { return TypeA }
func (AAAA) Type() Type  { return TypeAAAA }
func (PTR) Type() Type   { return TypePTR }
func (CNAME) Type() Type { return TypeCNAME }
func (SRV) Type() Type   { return TypeSRV }
func (TXT) Type() Type   { return TypeTXT }
func (NSEC) Type() Type  { return TypeNSEC }
func (r Raw) Type() Type { return r.Kind }

// Parse reads a message. Records of types that are not known are Raw.
func Parse(msg []byte) (*Message, error) {
	if len(msg) > MaxMessage {
		return nil, fmt.Errorf("reading DNS message: %d bytes, the limit is %d", len(msg), MaxMessage)
	}
	if len(msg) < 12 {
		return nil, fmt.Errorf("reading DNS message: %w", errShort)
	}

	u16 := func(at int) int { return int(binary.BigEndian.Uint16(msg[at:])) }
	flags := u16(2)
	m := &Message{
		ID: uint16(u16(0)), Response: flags&0x8000 != 0, Opcode: byte(flags >> 11 & 15), Authoritative: flags&0x0400 != 0,
		Truncated: flags&0x0200 != 0, Recurse: flags&0x0100 != 0, RCode: byte(flags & 15),
	}

	if u16(4)+u16(6)+u16(8)+u16(10) > maxRecords {
		return nil, fmt.Errorf("reading DNS message: more than %d records", maxRecords)
	}
	r := reader{msg: msg, off: 12}
	for range u16(4) {
		m.Questions = append(m.Questions, r.question())
	}

	for i, section := range []*[]Record{&m.Answers, &m.Authorities, &m.Additionals} {
		for range u16(6 + 2*i) {
			*section = append(*section, r.record())
		}
	}
	if r.err != nil {
		return nil, fmt.Errorf("reading DNS message: %w", r.err)
	}

	return m, nil
}

// A reader reads on until its first error, and then only zeros.
type reader struct {
	msg []byte
	off int
	err error
}

func (r *reader) question() Question {
	q := Question{Name: r.name()}
	q.Type = Type(r.uint16())
	class := r.uint16()
	q.Class, q.Unicast = class&^topBit, class&topBit != 0
	return q
}

func (r *reader) record() Record {
	name, kind, class := r.name(), Type(r.uint16()), r.uint16()
	ttl := uint32(r.uint16())<<16 | uint32(r.uint16())
	size := int(r.uint16())
	if r.err == nil && r.off+size > len(r.msg) {
		r.err = errShort
	}
	if r.err != nil {
		return Record{}
	}
	// The data may point to names before it, but not read beyond its end.
	inner := reader{msg: r.msg[:r.off+size], off: r.off}
	data := inner.data(kind)
	r.off, r.err = r.off+size, inner.err
	return Record{Name: name, Class: class &^ topBit, Flush: class&topBit != 0, TTL: ttl, Data: data}
}

func (r *reader) data(kind Type) Data {
	var d Data
	switch kind {
	case TypeA:
		a, _ := netip.AddrFromSlice(r.bytes(4))
		d = A{a}
	case TypeAAAA:
		a, _ := netip.AddrFromSlice(r.bytes(16))
		d = AAAA{a}

	case TypePTR:
		d = PTR{r.name()}
	case TypeCNAME:
		d = CNAME{r.name()}
	case TypeSRV:
		d = SRV{r.uint16(), r.uint16(), r.uint16(), r.name()}

	case TypeTXT:
		d = TXT{string(r.bytes(len(r.msg) - r.off))}
	case TypeNSEC:
		next := r.name()
		d = NSEC{next, string(r.bytes(len(r.msg) - r.off))}
	default:
		return Raw{kind, string(r.bytes(len(r.msg) - r.off))}
	}
	if r.err == nil && r.off != len(r.msg) {
		r.err = fmt.Errorf("record of type %d has %d bytes too many", kind, len(r.msg)-r.off)
	}

	return d
}

func (r *reader) name() (n Name) {
	if r.err == nil {
		n, r.off, r.err = readName(r.msg, r.off)
	}
	return n
}

func (r *reader) uint16() uint16 {
	b := r.bytes(2)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint16(b)
}

func (r *reader) bytes(n int) []byte {
	if r.err != nil || n < 0 || r.off+n > len(r.msg) {
		if r.err == nil {
			r.err = errShort
		}
		return nil
	}
	r.off += n
	return r.msg[r.off-n : r.off]
}
