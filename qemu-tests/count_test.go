package qemutests

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write what is counted into docs/performance.md")

// A counter counts what one boot takes, and keeps the numbers of all.
type counter struct {
	frames *frames
	wire   *capture
	found  []string // WHAT=NUMBER
}

// traceExecs has the kernel print each program that is started:
// Documentation/trace/events.rst.
const traceExecs = "trace_event=sched:sched_process_exec tp_printk"

// count boot -disk F -tpm CHIP…: power on, as boot does, and count. count off
// CHIP NAME: wait until it is off, and note what the boot took. count bytes
// NAME FILE. count check: no number is above the one in docs/performance.md;
// go test -update writes them.
func cmdCount(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	c := w.counter
	if c == nil {
		c = &counter{}
		w.counter = c
	}
	switch {
	case len(args) > 1 && args[0] == "boot":
		c.frames = &frames{kinds: map[string]bool{}}
		var err error
		c.wire, err = w.lan.capture(c.frames)
		ts.Check(err)
		cmdBoot(ts, false, append(args[1:], "-append", traceExecs))
	case len(args) == 3 && args[0] == "off":
		out := w.machine.console
		cmdOff(ts, false, nil)
		close(c.wire.stop)
		ts.Check(<-c.wire.done)
		all, after, err := commandsOfBoot(filepath.Join(w.dir, args[1]+".commands"))
		ts.Check(err)
		c.note(ts, "TPM commands, "+args[2], all)
		c.note(ts, "TPM commands after the key server's challenge, "+args[2], after)
		c.note(ts, "frames that are sent, "+args[2], len(c.frames.kinds))
		c.note(ts, "programs that are started before the real init, "+args[2], len(execRE.FindAllString(out.text.String(), -1)))
	case len(args) == 3 && args[0] == "bytes":
		info, err := os.Stat(ts.MkAbs(args[2]))
		ts.Check(err)
		c.note(ts, "bytes of "+args[1], int(info.Size()))
	case len(args) == 1 && args[0] == "check":
		cmd := exec.Command("go", append([]string{"run", "./qemu-tests/performance", "counted", fmt.Sprintf("-update=%t", *update && !neg)}, c.found...)...)
		cmd.Dir = filepath.Dir(w.shared.bin)
		out, err := cmd.CombinedOutput()
		if (err != nil) != neg {
			ts.Fatalf("%v: %s", err, out)
		}
	default:
		ts.Fatalf("usage: count boot … | count off CHIP NAME | count bytes NAME FILE | count check")
	}
}

func (c *counter) note(ts *testscript.TestScript, what string, n int) {
	c.found = append(c.found, fmt.Sprintf("%s=%d", what, n))
	fmt.Fprintln(ts.Stdout(), c.found[len(c.found)-1])
}

// execRE are the programs that are ours: the image's init is /init, and its
// children are itself.
var execRE = regexp.MustCompile(`sched_process_exec: filename=(/init|/proc/)`)

// tpmCommandRE is a command in swtpm's log: its code, and its first handle.
var tpmCommandRE = regexp.MustCompile(`SWTPM_IO_Read: length \d+\n 80 0[12] (?:[0-9A-F]{2} ){4}((?:[0-9A-F]{2} ){4})((?:[0-9A-F]{2} ){0,4})`)

// Commands by code, and PCRs by handle, as swtpm's log has them.
const (
	ccExtend   = "00 00 01 82"
	ccActivate = "00 00 01 47"
	ccPCRRead  = "00 00 01 7E"
	ccShutdown = "00 00 01 45"
	pcr10      = "00 00 00 0A"
)

// commandsOfBoot counts latchkey's commands to a chip since it was powered on.
// The kernel's last one before init runs is IMA's extend of PCR 10; the tiny
// root reads two PCRs, and the kernel shuts the chip down.
func commandsOfBoot(log string) (all, afterChallenge int, err error) {
	text, err := os.ReadFile(log)
	if err != nil {
		return 0, 0, err
	}
	var codes []string
	began := false
	for _, m := range tpmCommandRE.FindAllStringSubmatch(string(text), -1) {
		code, handle := strings.TrimSpace(m[1]), strings.TrimSpace(m[2])
		if code == ccExtend && handle == pcr10 {
			began, codes = true, nil
		} else if began && code != getRandom {
			codes = append(codes, code)
		}
	}
	last := len(codes) - 3
	if last < 0 || strings.Join(codes[last:], ",") != strings.Join([]string{ccPCRRead, ccPCRRead, ccShutdown}, ",") {
		return 0, 0, fmt.Errorf("%s: the boot has no beginning or no end in %q", log, codes)
	}
	codes = codes[:last]
	for i, code := range codes {
		if code == ccActivate {
			return len(codes), len(codes) - i, nil
		}
	}
	return 0, 0, fmt.Errorf("%s: no challenge was answered in %q", log, codes)
}

// frames are what the machine said on the LAN: each thing once, however often
// it was sent, without the kernel's reports of groups and what acknowledges.
// Each Write is one frame.
type frames struct {
	mu    sync.Mutex
	kinds map[string]bool
}

var machineMAC = []byte{0x52, 0x54, 0, 0, 0, 0x10}

func (f *frames) Write(frame []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(frame) > 34 && bytes.Equal(frame[6:12], machineMAC) {
		if kind := kindOf(binary.BigEndian.Uint16(frame[12:]), frame[14:]); kind != "" {
			f.kinds[kind] = true
		}
	}
	return len(frame), nil
}

func (f *frames) Close() error { return nil }

// kindOf is what a packet says; "" if that does not count. IPv4: RFC 791; IPv6:
// RFC 8200; ICMPv6: RFC 4443.
func kindOf(ethertype uint16, packet []byte) string {
	switch ethertype {
	case 0x0806:
		return fmt.Sprintf("arp %x", packet[:28])
	case 0x0800:
		header := int(packet[0]&15) * 4
		size := min(int(binary.BigEndian.Uint16(packet[2:])), len(packet))
		return kindOfPayload(packet[9], packet[16:20], packet[header:size])
	case 0x86dd:
		if packet[6] == 58 && len(packet) > 40 { // its source and options change with the address
			return fmt.Sprintf("icmp6 %d", packet[40])
		}
		return kindOfPayload(packet[6], packet[24:40], packet[40:])
	}
	return fmt.Sprintf("ethertype %x", ethertype)
}

func kindOfPayload(protocol byte, to, b []byte) string {
	switch protocol {
	case 0, 2: // hop-by-hop options: MLD; IGMP
		return ""
	case 6:
		offset := int(b[12]>>4) * 4
		if syn := b[13]&2 != 0; !syn && len(b) == offset {
			return ""
		}
		return fmt.Sprintf("tcp %x", b[:8]) // ports and sequence number
	case 17:
		if to := binary.BigEndian.Uint16(b[2:]); to == 67 {
			return "dhcp " + dhcpType(b[8:])
		}
		return fmt.Sprintf("udp %x %x", to, b[8:])
	}
	return fmt.Sprintf("protocol %d", protocol)
}

// dhcpType is the value of option 53, DHCP Message Type: RFC 2132, section 9.6.
func dhcpType(message []byte) string {
	for at := 240; at+2 < len(message) && message[at] != 255; at += 2 + int(message[at+1]) {
		if message[at] == 53 {
			return fmt.Sprint(message[at+2])
		}
	}
	return "?"
}
