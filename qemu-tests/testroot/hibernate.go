package main

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hibernate writes this system into a swap and switches the machine off. It
// goes on in another boot, where this function returns:
// Documentation/admin-guide/pm/sleep-states.rst.
func hibernate(console *os.File, swap string) error {
	path, err := unix.BytePtrFromString(swap)
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_SWAPON, uintptr(unsafe.Pointer(path)), 0, 0); errno != 0 {
		return fmt.Errorf("swapon %s: %w", swap, errno)
	}
	fmt.Fprintln(console, "testroot: hibernating")
	for _, w := range []struct{ file, word string }{{"/sys/power/disk", "shutdown"}, {"/sys/power/state", "disk"}} {
		if err := os.WriteFile(w.file, []byte(w.word), 0); err != nil {
			return err
		}
	}
	fmt.Fprintf(console, "testroot: resumed, pcr 15 %s", read("/sys/class/tpm/tpm0/pcr-sha256/15"))
	return nil
}
