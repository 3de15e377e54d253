package policy_test

import (
	"crypto/sha256"
	"strings"
	"testing"

	"latchkey/kms"
	"latchkey/kms/server/eventlog"
	"latchkey/kms/server/eventlog/eventlogtest"
	"latchkey/kms/server/policy"
)

// Programs of the recorded boots, as their loaders' files have them
// (initramfs/uki, TestAuthenticode).
const (
	shim161    = "80a66d53a945d2286fcadd780fae1c225aa732079cd67b5225dc78aaab4e2ff8"
	grub206    = "a68f6d71ebddaa19751ff8d729f67d11b0df8e4c49400c3e7e90de16119e1265"
	shim2025   = "f4166948f7adafa71e45c7ca5d30d97f78f382ecf1e3c8e4767b1ec1770cd52f"
	grub212    = "4723da70afd558617a87dadf9087ca335822c60e5f2aec0135fcc0122d3b96ff"
	sdboot252  = "7843e376e57323bcdfebcffc8d5109eb39721c83d8bedab1dfd6431596875c2c"
	sdboot257  = "937f1f3b0b3fed2034f1fddcc68c835f3e4ba190143f79693816e5a9d1718da5"
	kernel61   = "5f21ff2c0d5d899842b28a8b19901ba72cf7a7ab93c02a77fadc6ff72be85b31"
	grubConfig = "901e55097222e3ad841c84b617774a28006e5e6701e09ce28c212470659c16e8"
	bootLine   = "console=ttyS0 panic=-1 root=/dev/mapper/root ro"
)

// chains are the releases of what was recorded.
func chains() map[string]*policy.Chain {
	return map[string]*policy.Chain{
		"grub": {
			Loader: policy.LoaderGRUB, Programs: []policy.Digest{digest(shim161), digest(grub206), digest(kernel61)}, CommandLine: bootLine,
			Kernel: eventlogtest.FileDigest("grub", "vmlinuz"), Initrd: eventlogtest.FileDigest("grub", "initrd"), Files: []policy.Digest{digest(grubConfig)},
		},
		"grub-2.12": {
			Loader: policy.LoaderGRUB, Programs: []policy.Digest{digest(shim2025), digest(grub212), digest(kernel61)}, CommandLine: bootLine,
			Kernel: eventlogtest.FileDigest("grub-2.12", "vmlinuz"), Initrd: eventlogtest.FileDigest("grub-2.12", "initrd"), Files: []policy.Digest{digest(grubConfig)},
		},
		"sdboot": {
			Loader: policy.LoaderSystemd, Programs: []policy.Digest{digest(sdboot252), digest(kernel61)}, CommandLine: `initrd=\initrd ` + bootLine,
			Initrd: eventlogtest.FileDigest("sdboot", "initrd"),
		},
		"sdboot-257": {
			Loader: policy.LoaderSystemd, Programs: []policy.Digest{digest(sdboot257), digest(kernel61)}, CommandLine: `initrd=\initrd ` + bootLine,
			Initrd: eventlogtest.FileDigest("sdboot-257", "initrd"),
		},
		"direct": {
			Loader: policy.LoaderNone, Programs: []policy.Digest{digest(kernel61)}, CommandLine: bootLine + " initrd=initrd",
			Initrd: eventlogtest.FileDigest("direct", "initrd"),
		},
	}
}

// unpatched is the direct boot of a QEMU that gives the firmware the kernel
// as it is: the recorded one filled in the header's fields for it.
func unpatched(l *eventlogtest.Log) {
	i := l.Find(4, eventlogtest.Application, func(eventlogtest.Event) bool { return true })
	l.Events[i].Digest = [32]byte(digest(kernel61))
}

// chained is a machine whose approved boot was another one, and that is bound
// to the release of a recorded boot.
func chained(name string, change func(*eventlogtest.Log)) policy.Facts {
	f := booted(name, func(l *eventlogtest.Log) {
		if name == "direct" {
			unpatched(l)
		}
		if change != nil {
			change(l)
		}
	})
	f.ApprovedBoot = nil
	f.Pins[12] = policy.Digest{12}
	f.Releases = map[string]policy.Release{"r": {Chain: chains()[name]}}
	f.Settings.Releases = []string{"r"}
	return f
}

func event(pcr int, kind uint32, text string) eventlogtest.Event {
	_, measured, ok := strings.Cut(text, ": ")
	if !ok {
		measured = text
	}
	return eventlogtest.Event{PCR: pcr, Type: kind, Digest: sha256.Sum256([]byte(measured)), Data: []byte(text + "\x00")}
}

func appended(e eventlogtest.Event) func(*eventlogtest.Log) {
	return func(l *eventlogtest.Log) { l.Events = append(l.Events, e) }
}

// swap gives the first event of a PCR whose data has this text another digest.
func swap(pcr int, text string, d policy.Digest) func(*eventlogtest.Log) {
	return func(l *eventlogtest.Log) {
		for i, e := range l.Events {
			if e.PCR == pcr && strings.Contains(strings.ReplaceAll(string(e.Data), "\x00", ""), text) {
				l.Events[i].Digest = d
				return
			}
		}
		panic("no event of " + text)
	}
}

// TestChain: each row is a recorded boot with one thing changed, and what is
// said of it; nothing: it gets its keys.
func TestChain(t *testing.T) {
	evil := policy.Digest{0xe7}
	for _, row := range []struct {
		boot, name string
		change     func(*eventlogtest.Log)
		says       string
	}{
		{"grub", "as it was recorded", nil, ""},
		{"grub-2.12", "as it was recorded", nil, ""},
		{"grub-2.12", "the kernel was given another command line", swap(9, "LoadOptions", evil), "another LOADED_IMAGE::LoadOptions"},
		{"sdboot", "as it was recorded", nil, ""},
		{"sdboot-257", "as it was recorded", nil, ""},
		{"direct", "a kernel that QEMU left alone", nil, ""},
		{"direct", "a kernel whose header QEMU filled in", swap(4, "kernel", policy.Digest{0x43}), "kernel (43000000…) was started"},

		{"sdboot", "another initrd", swap(9, "Linux initrd", evil), "PCR 9 has another Linux initrd (e7000000…); its initrd was not read"},
		{"sdboot", "another initrd, behind the right one", appended(eventlogtest.Event{PCR: 9, Type: 6, Digest: evil}), "PCR 9 has another file"},
		{"sdboot", "another kernel", swap(4, "vmlinuz", evil), "(e7000000…) was started"},
		{"sdboot", "another boot loader", swap(4, "BOOTX64", evil), "(e7000000…) was started"},
		{"sdboot", "the right kernel, and then another", appended(eventlogtest.Event{PCR: 4, Type: eventlogtest.Application, Digest: evil}), "(e7000000…) was started"},
		{"sdboot", "the right kernel, and then the boot loader again", appended(eventlogtest.Event{PCR: 4, Type: eventlogtest.Application, Digest: [32]byte(digest(sdboot252))}), "its kernel was not what was started last"},
		{"sdboot", "the kernel was given another command line", swap(9, "LoadOptions", evil), "another LOADED_IMAGE::LoadOptions"},
		{"sdboot", "the kernel measures no command line", func(l *eventlogtest.Log) {
			i := l.Find(9, 6, func(e eventlogtest.Event) bool { return strings.Contains(string(e.Data), "LoadOptions") })
			l.Events = append(l.Events[:i], l.Events[i+1:]...)
		}, "command line is"},
		{"sdboot", "the loader gave another command line", appended(event(12, eventlogtest.IPL, "init=/bin/sh")), `PCR 12 has "init=/bin/sh"`},
		{"sdboot", "a driver was started first", appended(eventlogtest.Event{PCR: 2, Type: 0x80000004, Digest: evil}), "PCR 2 has drivers that the approved boot had not"},
		{"sdboot", "too many programs", many(4, [32]byte(digest(kernel61))), "PCR 4 has too many programs"},
		{"sdboot", "too many files", many(9, eventlogtest.FileDigest("sdboot", "initrd")), "PCR 9 has too many files"},
		{"sdboot", "too many command lines", func(l *eventlogtest.Log) {
			i := l.Find(12, eventlogtest.IPL, func(eventlogtest.Event) bool { return true })
			many(12, l.Events[i].Digest)(l)
		}, "PCR 12 has too much"},

		{"grub", "another initrd", swap(9, "/initrd", evil), "PCR 9 has another /initrd (e7000000…); its initrd was not read"},
		{"grub", "another kernel", swap(9, "/vmlinuz", evil), "GRUB did not read its kernel"},
		{"grub", "another configuration", swap(9, "grub.cfg", evil), "another (hd0,msdos1)/EFI/debian/grub.cfg"},
		{"grub", "another GRUB", swap(4, "grubx64", evil), "(e7000000…) was started"},
		{"grub", "another command line", func(l *eventlogtest.Log) {
			replace(l, "kernel_cmdline: ", "kernel_cmdline: /vmlinuz init=/bin/sh")
		}, `command line is "init=/bin/sh"`},
		{"grub", "another command line, labeled as something else", func(l *eventlogtest.Log) {
			replace(l, "grub_cmd: linux ", "grub_cmd: linux /vmlinuz init=/bin/sh")
		}, `GRUB ran "linux /vmlinuz init=/bin/sh"`},
		{"grub", "another command line by linuxefi", appended(event(8, eventlogtest.IPL, "x: linuxefi /vmlinuz")), `GRUB ran "linuxefi /vmlinuz"`},
		{"grub", "a file put into the initrd", func(l *eventlogtest.Log) {
			replace(l, "grub_cmd: initrd ", "grub_cmd: initrd /initrd newc:init:/boot/grub/grub.cfg")
		}, "GRUB put files into the initrd"},
		{"grub", "a command that is not told", appended(eventlogtest.Event{PCR: 8, Type: eventlogtest.IPL, Digest: evil}), "PCR 8 has commands that cannot be told"},
		{"grub", "something in PCR 12", appended(event(12, eventlogtest.IPL, "x")), "PCR 12 is not empty"},
		{"grub", "Secure Boot is off", func(l *eventlogtest.Log) { l.SetVariable("SecureBoot", []byte{0}) }, "GRUB then has commands that change what it has read"},
	} {
		f := chained(row.boot, row.change)
		f.Pins[7] = f.PCRs[7]
		v := policy.Judge(f)
		why := reasonOf(v)
		if (v.Status == kms.OK) != (row.says == "") || !strings.Contains(why, row.says) {
			t.Errorf("%s, %s: %v, %q, want %q", row.boot, row.name, v.Status, why, row.says)
		}
	}
}

func reasonOf(v policy.Verdict) string {
	for _, c := range v.Checks {
		if c.Rule == policy.RuleBootState {
			return c.Why
		}
	}
	return ""
}

// many adds as many events of one digest as no list has.
func many(pcr int, d [32]byte) func(*eventlogtest.Log) {
	return func(l *eventlogtest.Log) {
		for range 40 {
			l.Events = append(l.Events, eventlogtest.Event{PCR: pcr, Type: eventlogtest.IPL, Digest: d})
		}
	}
}

// replace gives the event of PCR 8 that begins so another text.
func replace(l *eventlogtest.Log, begins, text string) {
	i := l.Find(8, eventlogtest.IPL, func(e eventlogtest.Event) bool { return strings.HasPrefix(string(e.Data), begins) })
	l.Events[i] = event(8, eventlogtest.IPL, text)
}

// TestChainStands: what a chain stands in place of, and what it leaves to
// what was approved; and what counts as a boot of it.
func TestChainStands(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*policy.Facts)
		want   kms.Status
	}{
		{"PCR 12 is the chain's", func(*policy.Facts) {}, kms.OK},
		{"PCR 7 is as approved", func(f *policy.Facts) { f.Pins[7] = policy.Digest{7} }, kms.PCRMismatch},
		{"PCR 11 is as approved", func(f *policy.Facts) { f.Pins[11] = policy.Digest{11} }, kms.PCRMismatch},
		{"a first boot that nobody accepted", func(f *policy.Facts) {
			f.Awaits = true
			delete(f.Pins, 11)
		}, kms.OK},
		{"unmeasured is refuse: the initrd is measured", func(f *policy.Facts) { f.Settings.Unmeasured = policy.UnmeasuredRefuse }, kms.OK},
		{"there is no log", func(f *policy.Facts) { f.Boot = nil }, kms.PCRMismatch},
		{"PCR 4 was not quoted", func(f *policy.Facts) { delete(f.PCRs, 4) }, kms.PCRMismatch},
		{"PCR 2 was not quoted", func(f *policy.Facts) { delete(f.PCRs, 2) }, kms.PCRMismatch},
		{"a running system puts", func(f *policy.Facts) { f.Operation, f.PCRs[11] = kms.Put, policy.Digest{1} }, kms.OK},
		{"drivers that were approved", func(f *policy.Facts) {
			f.Boot.Rest[2] = policy.Digest{2}
			f.ApprovedBoot = &eventlog.Summary{Rest: map[int]eventlog.Digest{2: {2}}}
		}, kms.OK},
		{"drivers of another kind than approved", func(f *policy.Facts) {
			f.Boot.Rest[2] = policy.Digest{2}
			f.ApprovedBoot = &eventlog.Summary{Rest: map[int]eventlog.Digest{2: {3}}}
		}, kms.PCRMismatch},
		{"drivers that Secure Boot vouches for", func(f *policy.Facts) { f.Boot.Rest[2], f.Boot.SecureBoot = policy.Digest{2}, eventlog.On }, kms.OK},
	} {
		f := chained("sdboot", nil)
		row.change(&f)
		if v := policy.Judge(f); v.Status != row.want {
			t.Errorf("%s: %v, %q, want %v", row.name, v.Status, reasonOf(v), row.want)
		}
	}

	f := chained("sdboot", nil)
	if got := f.Known(); got != "r" {
		t.Errorf("Known = %q, want the release that was booted", got)
	}
	f.Releases["r"] = policy.Release{Chain: chains()["sdboot"], Retired: now}
	f.Settings.Releases = nil
	f.Pins[12] = f.PCRs[12]
	if v := policy.Judge(f); v.Status != kms.PCRMismatch || !strings.Contains(reasonOf(v), "booted release r, which was retired on") {
		t.Errorf("a retired chain, as approved: %v, %q", v.Status, reasonOf(v))
	}
	c := policy.Standing{Pins: f.Pins, Accepted: []string{"r"}, Releases: map[string]policy.Release{"r": {Chain: chains()["sdboot"]}}}.Cover()
	if c.Kind != policy.CoverFiles || !strings.Contains(strings.Join(c.Lines, "\n"), "(PCR 12), by release r") {
		t.Errorf("Cover = %+v", c)
	}
}

// TestChainCheck: what is not said of a boot would be anything.
func TestChainCheck(t *testing.T) {
	for name, change := range map[string]func(*policy.Chain){
		"boot loader":                 func(c *policy.Chain) { c.Loader = "u-boot" },
		"which kernel is started":     func(c *policy.Chain) { c.Programs = nil },
		"which grub is started":       func(c *policy.Chain) { c.Programs = c.Programs[2:] },
		"what is read":                func(c *policy.Chain) { c.Initrd = policy.Digest{} },
		"what is read: kernel":        func(c *policy.Chain) { c.Kernel = policy.Digest{} },
		"command line is empty":       func(c *policy.Chain) { c.CommandLine = " " },
		"too many programs or files":  func(c *policy.Chain) { c.Files = make([]policy.Digest, 2000) },
		"which kernel is started, as": func(c *policy.Chain) { c.Programs[0] = policy.Digest{} },
	} {
		c := chains()["grub"]
		change(c)
		want, _, _ := strings.Cut(name, ", as")
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Check = %v, want %q", err, want)
		}
	}
	for name, c := range chains() {
		if err := c.Check(); err != nil {
			t.Errorf("Check of %s = %v", name, err)
		}
	}
}
