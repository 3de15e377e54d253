package meminfo_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"latchkey/internal/meminfo"
)

// The kernel tells the total by a system call as well.
func TestTotal(t *testing.T) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		t.Fatal(err)
	}
	want := int64(info.Totalram) * int64(info.Unit)
	if got := meminfo.Total(); got != want {
		t.Errorf("Total() = %d, want %d", got, want)
	}
	if got := meminfo.Available(); got <= 0 || got > want {
		t.Errorf("Available() = %d, want up to %d", got, want)
	}
}
