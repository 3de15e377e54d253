package md

import (
	"errors"
	"fmt"
)

// Bits of a device's state.
const (
	stateFaulty  = 1 << 0
	stateActive  = 1 << 1
	stateSync    = 1 << 2
	stateRemoved = 1 << 3
)

const maxDevices0 = 27 // MD_SB_DISKS

// version0 parses mdp_super_t, little-endian: the machines that boot with
// this init are.
func version0(b []byte, at, _ int64) (*Member, error) {
	word := func(i int) uint32 { return le.Uint32(b[4*i:]) }
	major, minor := word(1), word(2)
	if major != 0 || minor != 90 && minor != 91 {
		return nil, ErrNone
	}
	if fold(sumWithout(b, 4*38)) != fold(word(38)) {
		return nil, errors.New("its checksum is wrong")
	}

	m := &Member{
		Version: "0.90", UUID: uuidText([4]uint32{word(5), word(13), word(14), word(15)}), Minor: int(min(word(11), 1<<20)),
		Level: int(int32(word(7))), Layout: word(64), Places: int(min(word(10), 1<<16)), Number: int(min(word(992), 1<<16)),
		Events: uint64(word(40))<<32 | uint64(word(39)), Clean: word(33)&1 != 0, made: uint64(word(6)),
	}
	for i := range maxDevices0 {
		m.places = append(m.places, place0(word(128+32*i+3), word(128+32*i+4)))
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	used := int64(word(8)) * 1024
	if m.Level != 0 && used > at {
		return nil, ErrNone // it is the whole disk's, and this is its last partition
	}

	m.Bytes = at
	m.InSync = m.Place >= 0 && word(128+32*m.Number+4)&stateSync != 0
	if m.needs = needs1(m.Level, 0); minor == 91 {
		m.needs = "a reshape is under way"
	}
	return m, nil
}

func place0(place, state uint32) int {
	switch {
	case state&(stateFaulty|stateRemoved) != 0:
		return Faulty
	case state&(stateSync|stateActive) == 0:
		return Spare
	}
	return int(min(place, 1<<16))
}

// fold is md_csum_fold: on some machines the kernel wrote 16 bits.
func fold(sum uint32) uint32 {
	sum = sum&0xffff + sum>>16
	return sum&0xffff + sum>>16
}

// String is what people read of a member.
func (m *Member) String() string {
	switch m.Place {
	case Spare:
		return m.Device + " (spare)"
	case Faulty:
		return m.Device + " (faulty)"
	case Journal:
		return m.Device + " (journal)"
	}
	return fmt.Sprintf("%s (member %d)", m.Device, m.Place)
}
