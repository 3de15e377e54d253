// Package meminfo tells how much memory this machine has.
package meminfo

import (
	"fmt"
	"os"
	"strings"
)

// Available is what programs can still get, in bytes; 0 if the kernel does
// not tell.
func Available() int64 { return read("MemAvailable") }

// Total is all the memory that the kernel uses, in bytes; 0 if it does not
// tell.
func Total() int64 { return read("MemTotal") }

// read takes a line of /proc/meminfo: proc_meminfo(5).
func read(name string) int64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, name+": %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	return 0
}
