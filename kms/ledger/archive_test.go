package ledger_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"latchkey/kms/ledger"
)

// A shelf keeps segments in memory, while it has room.
type shelf struct {
	full   bool
	asked  []uint64 // segments
	events map[uint64]int
}

func (s *shelf) Put(one ledger.Segment, events func(io.Writer) error) (bool, error) {
	s.asked = append(s.asked, one.Number)
	if s.full {
		return false, errors.New("the shelf is full")
	}
	var b bytes.Buffer
	err := events(&b)
	s.events[one.Number] = bytes.Count(b.Bytes(), []byte("\n"))
	return true, err
}

// Whatever is to be kept, nothing is removed that the archive does not have;
// it is asked for each segment once, and a new archive for all that there is.
func TestArchivedBeforeRemoved(t *testing.T) {
	p := newPast(t)
	p.note(35)
	p.seal(0, 4)
	s := &shelf{full: true, events: map[uint64]int{}}
	p.SetHistory(ledger.HistoryOptions{Archive: s})
	p.Due(t.Context())
	removed := func() (n int) {
		for _, one := range p.segments() {
			if one.Removed {
				n++
			}
		}
		return n
	}
	p.SetHistory(ledger.HistoryOptions{Archive: s, Keep: ledger.Keep{Bytes: 1}})
	p.Due(t.Context())
	if n := removed(); n != 0 || !slices.Equal(s.asked, []uint64{1, 1}) {
		t.Errorf("%d segments were removed while the archive was full, which was asked for %v", n, s.asked)
	}

	s.full, s.asked = false, nil
	p.SetHistory(ledger.HistoryOptions{Archive: s})
	p.Due(t.Context())
	p.Due(t.Context())
	if want := []uint64{1, 2, 3, 4}; !slices.Equal(s.asked, want) || s.events[1] != 10 || s.events[4] == 0 {
		t.Errorf("the archive was asked for %v, and has %v; want %v once, with ten events", s.asked, s.events, want)
	}
	other := &shelf{events: map[uint64]int{}}
	p.SetHistory(ledger.HistoryOptions{Archive: other})
	p.Due(t.Context())
	if !slices.Equal(other.asked, []uint64{1, 2, 3, 4}) {
		t.Errorf("another archive was asked for %v", other.asked)
	}

	p.SetHistory(ledger.HistoryOptions{Archive: s, Keep: ledger.Keep{Bytes: 1}})
	p.Due(t.Context())
	if n := removed(); n != 4 {
		t.Errorf("%d segments were removed that are archived, want 4", n)
	}
}
