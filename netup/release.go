package netup

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
)

// A note is what netup writes into a link's alias: what it changed, to
// be put back at the hand-over. It stands on the link, not in memory, so
// that it outlives the worker that wrote it.
type note struct {
	name string // the name the link had
	mtu  int
	mac  string
	made bool // the link itself is ours
}

const notePrefix = "latchkey:"

func parseNote(alias string) (n note, ours bool) {
	text, ours := strings.CutPrefix(alias, notePrefix)
	for field := range strings.SplitSeq(text, ",") {
		key, value, _ := strings.Cut(field, "=")
		switch key {
		case "name":
			n.name = value
		case "mtu":
			n.mtu, _ = strconv.Atoi(value)
		case "mac":
			n.mac = value
		case "made":
			n.made = true
		}
	}
	return n, ours
}

func (n note) String() string {
	if n.made {
		return notePrefix + "made"
	}
	s := notePrefix + "name=" + n.name
	if n.mtu != 0 {
		s += ",mtu=" + strconv.Itoa(n.mtu)
	}
	if n.mac != "" {
		s += ",mac=" + n.mac
	}
	return s
}

// Release leaves the links as they were found: addresses flushed, names
// restored, links down. It works from what stands on the links, so any
// process may call it after Run has ended. It tries all and returns what
// failed.
func Release(k Kernel, log *slog.Logger) error {
	devices, err := k.Devices()
	if err != nil {
		return err
	}

	var failed []error
	do := func(op Op) {
		if err := k.Do(op); err != nil {
			failed = append(failed, err)
		}
	}
	for i, d := range devices {
		n, ours := parseNote(d.Alias)
		if !ours {
			continue
		}

		log.Debug("releasing a link", "link", d.Name)
		for _, a := range d.Addrs {
			if a.Addr().Is4() {
				do(DelAddr{d.Index, a.Prefix})
			}
		}

		do(SetDown{d.Index}) // and with it IPv6 addresses and routes
		if n.name != "" && n.name != d.Name {
			devices[i].Name = parked(d) // links may have each other's names
			do(SetName{d.Index, devices[i].Name})
		}
	}

	// Links that lie on others were made after them, and go first.
	for _, d := range slices.Backward(devices) {
		if n, ours := parseNote(d.Alias); ours {
			if !n.made {
				failed = append(failed, unprepare(k, d))
			}
			restore(do, d, n)
		}
	}

	return errors.Join(failed...)
}

// restore puts back what the note says.
func restore(do func(Op), d Device, n note) {
	if n.made {
		do(DelLink{d.Index})
		return
	}

	if n.mtu != 0 && n.mtu != d.MTU {
		do(SetMTU{d.Index, n.mtu})
	}

	if mac, err := net.ParseMAC(n.mac); err == nil && !bytes.Equal(mac, d.MAC) {
		do(SetMAC{d.Index, mac})
	}
	if n.name != "" && n.name != d.Name {
		do(SetName{d.Index, n.name})
	}

	do(SetAlias{d.Index, ""})
}

// unprepare sets back what prepare set. A setting that is not there is one of
// a kernel without IPv6, or of an older one.
func unprepare(k Kernel, d Device) error {
	var failed []error
	for _, s := range slices.Concat(linkSysctls, otherSysctls) {
		if err := k.Do(SetSysctl{d.Index, s.family, s.key, ""}); err != nil && !errors.Is(err, os.ErrNotExist) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}
