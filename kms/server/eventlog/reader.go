package eventlog

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode/utf16"

	"github.com/google/go-eventlog/tcg"
)

// A reader makes a summary of events that were proven.
type reader struct {
	evidence Evidence
	s        *Summary
	secured  bool              // PCR 7's separator was seen: the firmware's part is over
	hidden   bool              // something of the firmware's part of PCR 7 could not be read
	started  bool              // PCR 0's separator was seen
	seen     map[string]string // variable → digest of its event
	section  string            // of the stub, whose data comes next
	rest     map[int][]byte    // digests of events that the summary does not tell
	keys     []byte            // digests of all events of PCR 7
}

// event takes one event. What cannot be told is kept as the rest of its PCR.
func (r *reader) event(e tcg.Event) {
	told := false
	switch e.Index {
	case 0:
		told = r.firmware(e)
	case 4:
		told = r.program(e)
	case 7:
		r.keys = append(r.keys, e.Digest...)
		told = r.secureBoot(e)
	case 8, 9:
		told = r.grub(e)
	case 11:
		told = r.stub(e)
	case 12, 13:
		told = r.config(e)
	case 14:
		told = r.mok(e)
	}
	if !told {
		r.rest[e.Index] = append(r.rest[e.Index], e.Digest...)
	}
}

func (r *reader) finish() {
	if !r.secured || r.hidden {
		r.s.oddly("PCR 7: what Secure Boot was is not known")
		r.s.SecureBoot, r.s.PK, r.s.KEK, r.s.DB, r.s.DBX = "", nil, nil, nil, nil
		r.rest[7] = r.keys
	}
	r.names()
	for pcr, digests := range r.rest {
		if r.s.Rest == nil {
			r.s.Rest = map[int]Digest{}
		}
		r.s.Rest[pcr] = sha256.Sum256(digests)
	}
}

// firmware reads PCR 0: EV_S_CRTM_VERSION is a string of UCS-2 or a GUID.
// After the separator it would be somebody else's.
func (r *reader) firmware(e tcg.Event) bool {
	r.started = r.started || [32]byte(e.Digest) == separator
	if e.Type != tcg.SCRTMVersion || !e.DigestVerified() || r.started {
		return false
	}
	r.s.Firmware = clean(utf16Text(e.Data), 100)
	if len(e.Data) == 16 && !strings.HasPrefix(hex.EncodeToString(e.Data[1:]), "00") {
		r.s.Firmware = hex.EncodeToString(e.Data)
	}
	return true
}

// actions are what PCR 4 holds beside programs: profile 1.06, table 20.
var actions = digestsOf("Calling EFI Application from Boot Option", "Returning from EFI Application from Boot Option", "\x00\x00\x00\x00")

func digestsOf(texts ...string) map[[32]byte]bool {
	m := map[[32]byte]bool{}
	for _, t := range texts {
		m[sha256.Sum256([]byte(t))] = true
	}
	return m
}

// program reads PCR 4: what is no action is a program, however its event is
// labeled. The digest is the program's, and the event's data, where it was,
// is not measured.
func (r *reader) program(e tcg.Event) bool {
	if actions[[32]byte(e.Digest)] {
		return true
	}
	if len(r.s.Programs) == maxPrograms {
		return false
	}
	p := Program{SHA256: Digest(e.Digest)}
	if load, err := tcg.ParseEFIImageLoad(bytes.NewReader(e.Data)); err == nil {
		if path, err := load.DevicePath(); err == nil {
			for _, element := range path {
				if element.Type == tcg.MediaDevice && element.Subtype == 4 { // UEFI 2.10, section 10.3.5.4
					p.Path = clean(utf16Text(element.Data), 200)
				}
			}
		}
	}
	r.s.Programs = append(r.s.Programs, p)
	return true
}

// mok reads PCR 14: shim measures its lists, and says which.
func (r *reader) mok(e tcg.Event) bool {
	return r.s.add(&r.s.Mok, Measured{Name: clean(text(e.Data), 64), SHA256: Digest(e.Digest)})
}

// add appends to a list that is not full.
func (s *Summary) add(list *[]Measured, m Measured) bool {
	if len(*list) == maxMeasured {
		return false
	}
	*list = append(*list, m)
	return true
}

// text reads a string that may be of UTF-16 and may end in NUL.
func text(b []byte) string {
	if len(b) >= 4 && len(b)%2 == 0 && b[1] == 0 && b[3] == 0 {
		return utf16Text(b)
	}
	return strings.TrimRight(string(b), "\x00")
}

// utf16Text reads UTF-16 as it lies in memory.
func utf16Text(b []byte) string {
	var units []uint16
	for i := 0; i+1 < len(b); i += 2 {
		units = append(units, uint16(b[i])|uint16(b[i+1])<<8)
	}
	return strings.TrimRight(string(utf16.Decode(units)), "\x00")
}

// clean makes text fit for a terminal and a log: one line of printable
// characters, so long at most.
func clean(s string, most int) string {
	s = strings.Map(func(c rune) rune {
		switch {
		case c == '\n' || c == '\t':
			return ' '
		case c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 || c == 0x202e || c == '\uFFFD':
			return -1
		}
		return c
	}, s)
	s = strings.TrimSpace(s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
