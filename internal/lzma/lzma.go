// Package lzma decompresses what "xz --format=lzma" writes: small, for the
// init, and slower than the kernel's own.
package lzma

import (
	"encoding/binary"
	"errors"
)

// header is the head of a file, in bytes: properties, size of the dictionary
// and size of what comes out, all ones if only the end marker tells it (LZMA
// SDK, lzma-specification.txt, "LZMA file format").
const header = 1 + 4 + 8

// Model sizes and limits of lzma-specification.txt.
const (
	states     = 12
	maxPosBits = 4
	lenSlots   = 4 // kinds of lengths that distances are told apart by
	minMatch   = 2 // bytes
	endMarker  = 1<<32 - 1
	unknown    = 1<<64 - 1 // size
	half       = 1 << 10   // of a probability
	moveBits   = 5
)

// Errors that are no fault of the caller's.
var (
	ErrFormat = errors.New("it is no LZMA file")
	ErrDamage = errors.New("it is damaged: what is in it does not fit together")
	ErrSize   = errors.New("it unpacks to another size than it should")
)

type prob = uint16

// A lengths model is a tree of lengths: short, middle, long.
type lengths struct {
	choice, choice2 prob
	low, mid        [1 << maxPosBits][8]prob
	high            [256]prob
}

// A decoder is the state of one file. Its output is its dictionary.
type decoder struct {
	in         []byte
	at         int
	rng, code  uint32
	short      bool // in was not long enough
	out        []byte
	lc         uint
	lpMask     int
	pbMask     int
	literal    []prob
	isMatch    [states][1 << maxPosBits]prob
	isRep      [states]prob
	isRepG0    [states]prob
	isRepG1    [states]prob
	isRepG2    [states]prob
	isRep0Long [states][1 << maxPosBits]prob
	slots      [lenSlots][64]prob
	special    [128]prob // of middle distances
	align      [16]prob
	length     lengths
	repLength  lengths
}

// Decode unpacks a file that holds size bytes. No input makes it take more
// memory than that, and 2 MiB.
func Decode(file []byte, size int) ([]byte, error) {
	if len(file) < header+5 || file[0] >= 9*5*5 {
		return nil, ErrFormat
	}
	props := int(file[0])
	lc, lp, pb := props%9, props/9%5, props/45
	said := binary.LittleEndian.Uint64(file[5:])
	if said != unknown && said != uint64(size) {
		return nil, ErrSize
	}
	if file[header] != 0 {
		return nil, ErrFormat
	}

	d := &decoder{
		in: file, at: header + 5, rng: 1<<32 - 1, code: binary.BigEndian.Uint32(file[header+1:]),
		out: make([]byte, 0, size), lc: uint(lc), lpMask: 1<<lp - 1, pbMask: 1<<pb - 1, literal: make([]prob, 0x300<<(lc+lp)),
	}
	d.reset()
	if err := d.run(said == unknown); err != nil {
		return nil, err
	}
	if d.short {
		return nil, ErrDamage
	}
	if len(d.out) != size {
		return nil, ErrSize
	}
	return d.out, nil
}

func even(list []prob) {
	for i := range list {
		list[i] = half
	}
}

// reset makes all bits equally probable.
func (d *decoder) reset() {
	even(d.literal)
	for i := range states {
		even(d.isMatch[i][:])
		even(d.isRep0Long[i][:])
	}
	for _, list := range [][]prob{d.isRep[:], d.isRepG0[:], d.isRepG1[:], d.isRepG2[:], d.special[:], d.align[:]} {
		even(list)
	}
	for i := range d.slots {
		even(d.slots[i][:])
	}
	for _, l := range []*lengths{&d.length, &d.repLength} {
		l.choice, l.choice2 = half, half
		even(l.high[:])
		for i := range l.low {
			even(l.low[i][:])
			even(l.mid[i][:])
		}
	}
}

// run decodes until the output is full or, in a file that has one, until the
// end marker comes.
func (d *decoder) run(marker bool) error {
	state := 0
	var rep [4]uint32 // distances of before, less one
	for marker || len(d.out) < cap(d.out) {
		if d.short {
			return ErrDamage
		}
		pos := len(d.out) & d.pbMask
		if d.bit(&d.isMatch[state][pos]) == 0 {
			if err := d.literalByte(state, int(rep[0])+1); err != nil {
				return err
			}
			state = afterLiteral(state)
			continue
		}

		n := 0
		switch {
		case d.bit(&d.isRep[state]) == 0:
			n = d.readLength(&d.length, pos)
			rep = [4]uint32{d.distance(n), rep[0], rep[1], rep[2]}
			if rep[0] == endMarker {
				return nil
			}
			state = after(state, 7)
		case d.again(&rep, state, pos):
			n, state = 1, after(state, 9)
		default:
			n, state = d.readLength(&d.repLength, pos), after(state, 8)
		}
		if err := d.copy(int(rep[0])+1, n); err != nil {
			return err
		}
	}
	return nil
}

// again reads which distance of before comes again and puts it first. It
// tells whether one byte is all that is copied.
func (d *decoder) again(rep *[4]uint32, state, pos int) (one bool) {
	if d.bit(&d.isRepG0[state]) == 0 {
		return d.bit(&d.isRep0Long[state][pos]) == 0
	}
	n := 1
	if d.bit(&d.isRepG1[state]) == 1 {
		n = 2 + d.bit(&d.isRepG2[state])
	}
	first := rep[n]
	copy(rep[1:n+1], rep[:n])
	rep[0] = first
	return false
}

// afterLiteral and after are the states that follow.
func afterLiteral(state int) int {
	switch {
	case state < 4:
		return 0
	case state < 10:
		return state - 3
	}
	return state - 6
}

func after(state, kind int) int {
	switch {
	case state < 7:
		return kind
	case kind == 7:
		return 10
	}
	return 11
}

// literalByte reads one byte, by the one before it and, after a match, by the
// one at the distance.
func (d *decoder) literalByte(state, dist int) error {
	at, before := len(d.out), 0
	if at == cap(d.out) {
		return ErrSize
	}
	if at > 0 {
		before = int(d.out[at-1])
	}
	probs := d.literal[0x300*((at&d.lpMask)<<d.lc+before>>(8-d.lc)):]
	m := 1
	if state >= 7 {
		if dist > at {
			return ErrDamage
		}
		for match := int(d.out[at-dist]); m < 0x100; {
			match <<= 1
			want := match >> 8 & 1
			b := d.bit(&probs[(1+want)<<8+m])
			m = m<<1 | b
			if b != want {
				break
			}
		}
	}
	for m < 0x100 {
		m = m<<1 | d.bit(&probs[m])
	}
	d.out = append(d.out, byte(m))
	return nil
}

// copy appends n bytes that are at the distance.
func (d *decoder) copy(dist, n int) error {
	at := len(d.out)
	switch {
	case dist > at:
		return ErrDamage
	case n > cap(d.out)-at:
		return ErrSize
	}
	for i := range n { // what is copied may be what was just written
		d.out = append(d.out, d.out[at-dist+i])
	}
	return nil
}
