package qemutests

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// A machine is one run of QEMU.
type machine struct {
	*service
	chip    *service // the software TPM, nil without one
	console *transcript
	keys    io.WriteCloser // its serial console's other side
	qmp     *qmp
	start   time.Time
}

func (m *machine) kill() {
	m.cmd.Process.Kill()
	<-m.done
	if m.chip != nil {
		m.chip.stop()
	}
}

// A bootSpec is what "boot" was asked for.
type bootSpec struct {
	disks, appends []string
	tpm            string
	memory         int
	nics           int
	trunk          uint64 // VLAN
	image          string
	ukis           []string // EFI programs for the firmware to start, on a disk each
	esp            string   // a folder with boot loader, kernel and initrd, for the firmware to start
	beside         string   // the folder of what lies beside them
	secure         []string // certificates that Secure Boot trusts; none: it is off
	reboot         bool
	rtc            string
	extra          []string
}

func parseBoot(ts *testscript.TestScript, args []string) bootSpec {
	b := bootSpec{memory: 256, nics: 1, image: "initrd.img"}
	for i := 0; i < len(args); i++ {
		value := func() string {
			if i++; i >= len(args) {
				ts.Fatalf("boot: %s needs a value", args[i-1])
			}
			return args[i]
		}
		switch args[i] {
		case "-disk":
			b.disks = append(b.disks, value())
		case "-append":
			b.appends = append(b.appends, value())
		case "-tpm":
			b.tpm = value()

		case "-image":
			b.image = value()
		case "-memory":
			b.memory, _ = strconv.Atoi(value())
		case "-nics":
			b.nics, _ = strconv.Atoi(value())

		case "-trunk":
			b.nics = 0
			b.trunk, _ = strconv.ParseUint(value(), 10, 12)
		case "-uki":
			b.ukis = append(b.ukis, value())
		case "-secure":
			b.secure = append(b.secure, value())
		case "-esp":
			b.esp = value()
		case "-beside":
			b.beside = value()
		case "-rtc":
			b.rtc = value()
		case "-reboot":
			b.reboot = true

		case "-qemu":
			b.extra = append(b.extra, strings.Fields(value())...)
		default:
			ts.Fatalf("boot: there is no option %s", args[i])
		}
	}
	return b
}

// boot -disk FILE… [-tpm NAME] [-append OPTIONS] [-memory MiB] [-nics N]
// [-trunk VLAN] [-image FILE | -esp FOLDER | -uki FILE… [-beside FOLDER] [-secure CERT…]] [-rtc TIME] [-reboot]
// [-qemu OPTIONS]: power on.
func cmdBoot(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if w.machine != nil {
		w.machine.kill()
		w.machine = nil
	}
	b := parseBoot(ts, args)
	m := &machine{start: time.Now()}
	flags := append(w.hardware.machine[:len(w.hardware.machine):len(w.hardware.machine)],
		"-accel", "tcg,thread=multi", "-m", strconv.Itoa(b.memory), "-smp", "2",
		"-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-device", "virtio-rng-pci",
		"-qmp", "unix:"+filepath.Join(w.dir, "qmp.sock")+",server=on,wait=off",
	)
	if len(b.ukis) > 0 || b.esp != "" {
		flags = append(flags, w.firmware(ts, b)...)
	} else {
		flags = append(flags, "-kernel", filepath.Join(w.kernel, "vmlinuz"), "-initrd", ts.MkAbs(b.image),
			"-append", strings.Join(append([]string{"console=" + w.hardware.console + " edd=off panic=-1 init_on_free=1 rd.neednet=1"}, b.appends...), " "))
	}
	if !b.reboot {
		flags = append(flags, "-no-reboot")
	}

	if b.rtc != "" {
		flags = append(flags, "-rtc", "base="+b.rtc)
	}
	for i, d := range b.disks {
		flags = append(flags, "-drive", fmt.Sprintf("if=none,id=d%d,format=raw,file=%s", i, ts.MkAbs(d)),
			"-device", fmt.Sprintf("virtio-blk-pci,drive=d%d,serial=disk%d", i, i))
	}

	for i := range b.nics {
		tap, err := w.lan.tap()
		ts.Check(err)
		flags = append(flags, "-netdev", fmt.Sprintf("tap,id=n%d,ifname=%s,script=no,downscript=no", i, tap),
			"-device", fmt.Sprintf("virtio-net-pci,netdev=n%d,id=nic%d,mac=52:54:00:00:00:%02x,romfile=", i, i, 0x10+i))
	}

	if b.trunk != 0 {
		port, netdev, err := w.lan.trunk(w.dir, uint16(b.trunk))
		ts.Check(err)
		ts.Defer(port.close)
		flags = append(flags, "-netdev", netdev, "-device", "virtio-net-pci,netdev=trunk,mac=52:54:00:00:00:10,romfile=")
	}

	if b.tpm != "" {
		flags = append(flags, w.startChip(ts, m, b.tpm)...)
	}
	flags = append(flags, b.extra...)
	cmd := w.lan.command(w.hardware.qemu, flags...)
	keys, err := cmd.StdinPipe()
	ts.Check(err)
	m.keys = keys
	s, err := startService(w.dir, "console", cmd, os.Environ())
	ts.Check(err)
	m.service, m.console = s, s.out
	w.machine = m
}

// console REGEXP waits until the machine says so, after what was matched
// before. "! console REGEXP" fails if it ever said so until now.
func cmdConsole(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if len(args) != 1 || w.machine == nil {
		ts.Fatalf("usage: console REGEXP, after boot")
	}

	re, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	if neg {
		if w.machine.console.contains(re) {
			ts.Fatalf("the console has %q", re)
		}
		return
	}

	found, err := w.machine.console.wait(re, patience)
	if err != nil {
		ts.Fatalf("console: %v", err)
	}

	for i, f := range found[1:] {
		ts.Setenv(fmt.Sprintf("MATCH%d", i+1), f)
	}
	fmt.Fprintf(ts.Stdout(), "%6.1f s: %s\n", time.Since(w.machine.start).Seconds(), found[0])
}

// fingerprint waits for the six words that the machine shows, $WORDS.
func cmdFingerprint(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	found, err := w.machine.console.wait(regexp.MustCompile(`this machine is ["']([a-z]+(?: [a-z]+){5})["']`), patience)
	if err != nil {
		ts.Fatalf("fingerprint: %v", err)
	}
	ts.Setenv("WORDS", found[1])
}

// off waits until the machine has switched itself off.
func cmdOff(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if w.machine == nil {
		ts.Fatalf("off: nothing was booted")
	}
	select {
	case <-w.machine.done:
	case <-time.After(patience):
		ts.Fatalf("the machine is still on after %s", patience)
	}
	if w.machine.chip != nil {
		w.machine.chip.stop()
	}
	w.machine = nil
}

// same A B compares two values.
func cmdSame(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: same A B")
	}
	if (args[0] == args[1]) == neg {
		ts.Fatalf("%q and %q: same is %t", args[0], args[1], !neg)
	}
}

// net up|down NIC pulls or plugs a machine's cable, by its number; "net
// wait TIME" lets that much time pass, where the passing is the test.
func cmdNet(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if len(args) == 2 && args[0] == "wait" {
		d, err := time.ParseDuration(args[1])
		ts.Check(err)
		time.Sleep(d)
		return
	}
	if len(args) != 2 || w.machine == nil || (args[0] != "up" && args[0] != "down") {
		ts.Fatalf("usage: net up|down NUMBER, after boot")
	}
	ts.Check(w.qmp(map[string]any{"execute": "set_link", "arguments": map[string]any{"name": "nic" + args[1], "up": args[0] == "up"}}))
}

// survive FAULT…: boots root.img with chip0 once for each fault of a debug
// image, and wants the same PCRs as in the boot without one.
func cmdSurvive(ts *testscript.TestScript, neg bool, args []string) {
	for _, fault := range args {
		cmdBoot(ts, false, []string{"-disk", "root.img", "-tpm", "chip0", "-append", ts.Getenv("CMDLINE"), "-append", "rd.latchkey.fault=" + fault})
		role, _, _ := strings.Cut(fault, ":")
		cmdConsole(ts, false, []string{"latchkey: the " + role + " died: starting it again"})
		cmdConsole(ts, false, []string{"testroot: pcr 11 " + ts.Getenv("PCR11")})
		cmdConsole(ts, false, []string{"testroot: pcr 15 " + ts.Getenv("PCR15")})
		cmdOff(ts, false, nil)
	}
}

// type TEXT types at the machine's serial console; \n is the return key.
func cmdType(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if len(args) != 1 || w.machine == nil {
		ts.Fatalf("usage: type TEXT, after boot")
	}
	_, err := w.machine.keys.Write([]byte(strings.ReplaceAll(args[0], `\n`, "\n")))
	ts.Check(err)
}

// lan WORDS…: ip(8) on the host's side of the LAN.
func cmdLAN(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(worldOf(ts).lan.ip(strings.Join(args, " ")))
}
