package discover

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
)

// TestBadEntriesFailAlone is faults/network.md C1 and faults/field.md P1:
// one entry that cannot be used takes none of the others along.
func TestBadEntriesFailAlone(t *testing.T) {
	many := make([]string, maxTargets+2)
	for i := range many {
		many[i] = fmt.Sprintf("http://kms%d.local", i)
	}
	for _, row := range []struct {
		name              string
		query             Query
		targets, services int
		bad               []string // field[index]
	}{
		{"all good", Query{URLs: []string{"http://kms.local"}, Services: []string{"_latchkey._tcp"}}, 1, 1, nil},
		{"a bad URL before a good one", Query{URLs: []string{"kms.local", "http://192.0.2.1"}}, 1, 0, []string{"urls[0]"}},
		{"a bad service", Query{URLs: []string{"http://kms.local"}, Services: []string{"latchkey", "_x._tcp"}}, 1, 1, []string{"services[0]"}},
		{"one more than fit", Query{URLs: many}, maxTargets, 0, []string{"urls[16]", "urls[17]"}},
		{"a service twice counts once", Query{Services: []string{"_x._tcp", "_x._tcp.local"}}, 0, 1, nil},
		{"nothing is left", Query{URLs: []string{"ftp://x"}, Services: []string{"x"}}, 0, 0, []string{"urls[0]", "services[0]"}},
		{"nothing is asked for", Query{}, 0, 0, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			f, err := NewFinder(row.query, System{}, slog.New(slog.DiscardHandler))
			var bad []string
			if joined, ok := err.(interface{ Unwrap() []error }); ok {
				for _, e := range joined.Unwrap() {
					if one, ok := errors.AsType[*EntryError](e); ok {
						bad = append(bad, fmt.Sprintf("%s[%d]", one.Field, one.Index))
					}
				}
			}
			if fmt.Sprint(bad) != fmt.Sprint(row.bad) {
				t.Errorf("NewFinder names %v, want %v (%v)", bad, row.bad, err)
			}
			switch {
			case f == nil && row.targets+row.services > 0:
				t.Error("there is no Finder, though entries are left")
			case f != nil && (len(f.targets) != row.targets || len(f.services) != row.services):
				t.Errorf("it looks for %d URLs and %d services, want %d and %d", len(f.targets), len(f.services), row.targets, row.services)
			case f != nil && row.targets+row.services == 0 && len(row.bad) > 0:
				t.Error("there is a Finder for nothing")
			}
		})
	}
}
