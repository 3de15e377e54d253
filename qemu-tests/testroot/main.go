// Testroot is the init of the tiny root that the scripts boot: it says on
// the console what it was handed, does what the kernel command line asks
// (test.do=…), and switches the machine off.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	console, err := os.OpenFile("/dev/console", os.O_WRONLY, 0)
	if err != nil {
		console = os.Stderr
	}
	say := func(format string, args ...any) { fmt.Fprintf(console, "testroot: "+format+"\n", args...) }
	say("started with %q", os.Args)
	tell(say)

	for word := range strings.FieldsSeq(read("/proc/cmdline")) {
		if what, ok := strings.CutPrefix(word, "test.do="); ok {
			if err := do(what, console); err != nil {
				say("%s failed: %v", what, err)
			}
		}
	}

	say("end")
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// tell says how the root was handed over.
func tell(say func(string, ...any)) {
	for line := range strings.Lines(read("/proc/self/mounts")) {
		f := strings.Fields(line)
		if len(f) > 3 && (f[1] == "/" && f[2] != "rootfs" || f[1] == "/usr" || f[1] == "/dev" || f[1] == "/run" || f[1] == "/proc" || f[1] == "/sys") {
			say("mount %s %s %s %s", f[1], f[0], f[2], strings.Split(f[3], ",")[0])
		}
	}

	names, _ := os.ReadDir("/dev/mapper")
	for _, n := range names {
		say("mapper %s", n.Name())
	}
	groups, _ := filepath.Glob("/dev/*-vg/*")
	for _, g := range groups {
		to, _ := os.Readlink(g)
		say("logical %s %s", g, to)
	}
	udev, _ := os.ReadDir("/run/udev/data")
	for _, n := range udev {
		say("udev %s %q", n.Name(), read("/run/udev/data/"+n.Name()))
	}

	say("report %d bytes", len(read("/run/latchkey/boot.json")))
	for _, pattern := range []string{"/run/log/systemd/*", "/run/systemd/tpm2-*", "/run/credstore.encrypted/*"} {
		files, _ := filepath.Glob(pattern)
		for _, f := range files {
			say("file %s", f)
		}
	}
	for _, pcr := range []string{"11", "15"} {
		say("pcr %s %s", pcr, strings.TrimSpace(read("/sys/class/tpm/tpm0/pcr-sha256/"+pcr)))
	}
	leases, _ := os.ReadDir("/run/systemd/network")
	defer func() {
		for _, l := range leases {
			say("lease %s", l.Name())
		}
	}()

	for line := range strings.Lines(read("/proc/net/dev")) {
		if name, _, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			say("link %s flags %s", name, strings.TrimSpace(read("/sys/class/net/"+name+"/flags")))
		}
	}
}

func read(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(text)
}
