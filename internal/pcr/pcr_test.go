package pcr_test

import (
	"encoding/hex"
	"testing"

	"latchkey/internal/pcr"
)

// The values are Python's hashlib's for systemd's words on a PCR that is
// zero.
func TestPhases(t *testing.T) {
	for _, row := range []struct {
		name  string
		words []string
		want  string
	}{
		{"nothing", nil, "0000000000000000000000000000000000000000000000000000000000000000"},
		{"the init's own word", []string{pcr.EnterInitrd}, "d15b0e8e244e65c40f024e95773f2347ce4ef3ffe6b597c9a14b50bbab6df319"},
		{"and the latch's", []string{pcr.EnterInitrd, pcr.LeaveInitrd}, "75df9c8b17d8a6465f2862028b892ea13a3d7c37685a945e5ff34fb44956c207"},
	} {
		got := pcr.Phases(row.words...)
		if hex.EncodeToString(got[:]) != row.want {
			t.Errorf("%s: Phases(%q) = %x, want %s", row.name, row.words, got, row.want)
		}
	}
}
