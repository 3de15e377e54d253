package md

import (
	"bytes"
	"fmt"
	"slices"
)

// Bits of feature_map.
const (
	featureRecovery    = 2
	featureReshape     = 4 | 32 | 64 // RESHAPE_ACTIVE, RESHAPE_BACKWARDS, NEW_OFFSET
	featureReplacement = 16
	featureCluster     = 256
	featureJournal     = 512
	featurePPL         = 1024 | 2048
	featuresKnown      = 1<<13 - 1 // MD_FEATURE_ALL
)

const (
	fixedBytes = 256 // of struct mdp_superblock_1, before the roles
	maxDevices = (superBytes - fixedBytes) / 2
)

// version1 parses struct mdp_superblock_1: what super_1_load refuses is
// damaged, and what is not where it says that it is, is none.
func version1(version string) func([]byte, int64, int64) (*Member, error) {
	return func(b []byte, at, sizeBytes int64) (*Member, error) {
		if le.Uint32(b[4:]) != 1 || le.Uint64(b[144:]) != uint64(at/sectorBytes) {
			return nil, ErrNone // the kernel, too, takes no copy for the thing itself
		}
		devices := int64(le.Uint32(b[220:]))
		if devices == 0 || devices > maxDevices {
			return nil, fmt.Errorf("it has %d devices", devices)
		}
		whole := b[:fixedBytes+2*devices]
		if sumWithout(whole, 216) != le.Uint32(b[216:]) {
			return nil, fmt.Errorf("its checksum is wrong")
		}

		name, _, _ := bytes.Cut(b[32:64], []byte{0})
		m := &Member{
			Version: version, UUID: uuid1(b[16:32]), Name: printable(string(name)), Minor: -1,
			Level: int(int32(le.Uint32(b[72:]))), Layout: le.Uint32(b[76:]), Places: int(min(le.Uint32(b[92:]), 1<<16)),
			Number: int(min(le.Uint32(b[160:]), 1<<16)), Events: le.Uint64(b[200:]), Clean: le.Uint64(b[208:]) == 1<<64-1,
			made: le.Uint64(b[64:]) & (1<<40 - 1),
		}
		for i := range int(devices) {
			m.places = append(m.places, place1(le.Uint16(whole[fixedBytes+2*i:])))
		}
		if err := m.span(b, at, sizeBytes); err != nil {
			return nil, err
		}
		features := le.Uint32(b[8:])
		if err := m.check(); err != nil {
			return nil, err
		}
		m.InSync = m.Place >= 0 && features&(featureRecovery|featureReplacement) == 0
		m.needs = needs1(m.Level, features)
		return m, nil
	}
}

// span checks where the data is, in sectors.
func (m *Member) span(b []byte, at, sizeBytes int64) error {
	const most = maxBytes / sectorBytes
	offset, size, used := le.Uint64(b[128:]), le.Uint64(b[136:]), le.Uint64(b[80:])
	if offset > most || size > most || used > most {
		return fmt.Errorf("its data is %d sectors from sector %d on", size, offset)
	}
	end := int64(offset+size) * sectorBytes
	switch limit := int64(at); {
	case size < 10: // as super_1_load has it
		return fmt.Errorf("it has %d sectors of data", size)
	case m.Version == "1.0" && end > limit, end > sizeBytes:
		return fmt.Errorf("its data ends at byte %d, behind the end of the device", end)
	case m.Version != "1.0" && int64(offset)*sectorBytes < at+fixedBytes:
		return fmt.Errorf("its data begins at sector %d, in front of it or in it", offset)
	case used > size && le.Uint32(b[8:])&featureJournal == 0:
		return fmt.Errorf("the array uses %d sectors, and it has %d", used, size)
	}
	m.Bytes = end
	return nil
}

// check is about both formats: which place the device has.
func (m *Member) check() error {
	switch {
	case m.Places < 1 || m.Places > len(m.places):
		return fmt.Errorf("the array has %d places for %d devices", m.Places, len(m.places))
	case m.Number >= len(m.places):
		return fmt.Errorf("it is device %d of %d", m.Number, len(m.places))
	}
	m.Place = m.places[m.Number]
	if m.Place >= m.Places {
		return fmt.Errorf("its place is %d of %d", m.Place, m.Places)
	}
	if near, far := int(m.Layout&255), int(m.Layout>>8&255); m.Level == 10 && (near == 0 || far == 0 || near*far > m.Places) {
		return fmt.Errorf("layout 0x%x is none of raid10 with %d places", m.Layout, m.Places)
	}
	return nil
}

func uuid1(b []byte) string {
	var words [4]uint32
	for i := range words { // mdadm prints the bytes as they stand
		w := slices.Clone(b[4*i : 4*i+4])
		slices.Reverse(w)
		words[i] = le.Uint32(w)
	}
	return uuidText(words)
}

func place1(role uint16) int {
	switch {
	case role == 0xffff:
		return Spare
	case role == 0xfffd:
		return Journal
	case role > 0xff00: // MD_DISK_ROLE_MAX
		return Faulty
	}
	return int(role)
}

// needs1 says why mdadm must do it: what the kernel would write while it
// assembles, or what mdadm must go on with.
func needs1(level int, features uint32) string {
	switch {
	case features&featureReshape != 0:
		return "a reshape is under way"
	case features&featureJournal != 0:
		return "it has a write journal"
	case features&featurePPL != 0:
		return "it has a partial parity log"
	case features&featureCluster != 0:
		return "it is a cluster's"
	case features&^featuresKnown != 0:
		return fmt.Sprintf("it has features that are not known here: 0x%x", features&^featuresKnown)
	case levels[level] == "":
		return "it is " + levelName(level)
	}
	return ""
}
