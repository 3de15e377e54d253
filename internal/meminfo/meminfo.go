// Package meminfo tells how much memory this machine has.
package meminfo

import (
	"fmt"
	"os"
	"strings"
)

// File is where the kernel tells it.
const File = "/proc/meminfo"

// ForImage is about how much memory a machine needs to boot an initramfs of
// this unpacked size, both in bytes. The kernel unpacks into a tmpfs, which
// takes half of the memory at most (mm/shmem.c, shmem_default_max_blocks),
// has the packed image beside it meanwhile, and needs some for itself and
// the init.
func ForImage(unpacked int64) int64 { return unpacked*9/4 + 64<<20 }

// Available is what programs can still get, in bytes; 0 if the kernel does
// not tell.
func Available() int64 { return read("MemAvailable") }

// Total is all the memory that the kernel uses, in bytes; 0 if it does not
// tell.
func Total() int64 { return read("MemTotal") }

// read takes a line of /proc/meminfo: proc_meminfo(5).
func read(name string) int64 {
	text, err := os.ReadFile(File)
	if err != nil {
		return 0
	}
	return find(text, name)
}

// TotalIn is Total for a text that was read already.
func TotalIn(text []byte) int64 { return find(text, "MemTotal") }

func find(text []byte, name string) int64 {
	for line := range strings.Lines(string(text)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, name+": %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	return 0
}
