package daemon

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A start that takes long asks systemd for time before what it was given is
// over; what takes no time asks for none.
func TestSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		damaged := errors.New("damaged")
		for took, want := range map[time.Duration]int{0: 0, 9 * time.Second: 0, 95 * time.Second: 9} {
			var told []string
			err := slowly("verifying the database", func(s string) { told = append(told, s) }, func() error {
				time.Sleep(took)
				return damaged
			})
			if !errors.Is(err, damaged) || len(told) != want {
				t.Errorf("what takes %v: %v, told %q, want %d times", took, err, told, want)
			}
			for _, s := range told {
				if !strings.HasPrefix(s, "EXTEND_TIMEOUT_USEC=30000000\nSTATUS=verifying") {
					t.Errorf("systemd is told %q", s)
				}
			}
		}
	})
}
