package policy_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"latchkey/kms"
	"latchkey/kms/server/eventlog/eventlogtest"
	"latchkey/kms/server/policy"
)

// booted is an approved machine whose boot was judged by its event log. The
// approved boot is the one that was recorded.
func booted(name string, change func(*eventlogtest.Log)) policy.Facts {
	before, l := eventlogtest.Recorded(name), eventlogtest.Recorded(name)
	if change != nil {
		change(l)
	}
	f := approved()
	f.Boot, f.ApprovedBoot, f.PCRs = l.Summary(), before.Summary(), l.PCRs("enter-initrd")
	f.PCRs[15] = policy.Digest{}
	pins := before.PCRs("enter-initrd")
	f.Pins = map[int]policy.Digest{7: pins[7], 11: pins[11], 12: pins[12]}
	return f
}

// release makes a release of what stands under content in the configuration.
func release(t *testing.T, content string) policy.Release {
	t.Helper()
	var c policy.ReleaseConfig
	if err := yaml.Unmarshal([]byte("name: x\ncontent:\n"+content), &c); err != nil {
		t.Fatal(err)
	}
	p, err := policy.Config{
		Releases: []policy.ReleaseConfig{c},
		Programs: []policy.ProgramConfig{{Name: "shim 16.1", SHA256: digest("80a66d53a945d2286fcadd780fae1c225aa732079cd67b5225dc78aaab4e2ff8")}},
	}.Policy(os.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	return p.Releases["x"]
}

func digest(s string) (d policy.Digest) {
	if err := d.UnmarshalText([]byte(s)); err != nil {
		panic(err)
	}
	return d
}

func added(variable string, entry []byte) func(*eventlogtest.Log) {
	return func(l *eventlogtest.Log) {
		l.SetVariable(variable, append(l.Variable(variable), eventlogtest.List(entry)...))
	}
}

// snakeoil is the test key of Debian's OVMF.
const snakeoil = "sha256:282e8130b7070f107aaecc25d3992ca4440270860b09088792a5075fab0d13f8"

// Each condition with the boot that it lets pass and its twin.
func TestContent(t *testing.T) {
	dbx := t.TempDir() + "/dbx"
	one, two := sha256.Sum256([]byte("1")), sha256.Sum256([]byte("2"))
	if err := os.WriteFile(dbx, append(eventlogtest.List(one[:]), eventlogtest.List(two[:])...), 0o600); err != nil {
		t.Fatal(err)
	}
	foreign := eventlogtest.Certificate("Foreign")
	const microsoft = "  secure-boot: on\n  db: [microsoft-windows-2011, microsoft-uefi-2011, microsoft-uefi-2023]\n"
	for _, row := range []struct {
		name    string
		content string
		boot    string
		good    func(*eventlogtest.Log)
		bad     func(*eventlogtest.Log)
		says    string // of the twin
	}{
		{"Secure Boot", "  secure-boot: on\n", "secure", nil, func(l *eventlogtest.Log) { l.SetVariable("SecureBoot", []byte{0}) }, "Secure Boot is off"},
		{"PK", "  pk: [" + snakeoil + "]\n", "secure", nil, added("PK", foreign), "PK has 'Foreign'"},
		{"KEK", "  kek: [" + snakeoil + "]\n", "secure", nil, added("KEK", foreign), "KEK has 'Foreign'"},
		{"db", microsoft, "grub", nil, added("db", foreign), "db has 'Foreign'"},
		{"db, a digest", microsoft, "grub", nil, added("db", one[:]), "db has 1 entries that are no certificates"},
		{"dbx at least", "  dbx: " + dbx + "\n", "grub", func(l *eventlogtest.Log) {
			added("dbx", one[:])(l)
			added("dbx", two[:])(l)
		}, added("dbx", one[:]), "dbx lacks 1 of 2 entries"},
		{"SBAT at least", "  sbat: [shim 4, grub 5]\n", "grub", nil, func(l *eventlogtest.Log) { level(l, "sbat,1,2022\nshim,4\ngrub,4\n") }, "SBAT level of grub is 4, not 5"},
		{"signers", "  signers: [" + snakeoil + "]\n", "secure", nil, func(l *eventlogtest.Log) {
			l.Insert(len(l.Events), eventlogtest.Signed(foreign))
		}, "'Foreign' of db vouched for what was started"},
		{"signers, one that cannot be read", "  signers: [" + snakeoil + "]\n", "secure", nil, func(l *eventlogtest.Log) {
			l.Insert(len(l.Events), eventlogtest.Signed(one[:]))
		}, "by what something was started is not known"},
		{"signers, none", "  signers: [" + snakeoil + "]\n", "secure", nil, func(l *eventlogtest.Log) {
			i := l.Find(7, eventlogtest.Authority, func(eventlogtest.Event) bool { return true })
			l.Events = append(l.Events[:i], l.Events[i+1:]...)
		}, "nothing vouched for what was started"},
		{
			"any signed image", "  secure-boot: on\n  signers: [" + snakeoil + "]\n  image: signed\n", "secure",
			func(l *eventlogtest.Log) { l.SetSection(".initrd", []byte("new")) },
			func(l *eventlogtest.Log) {
				kept := l.Events[:0]
				for _, e := range l.Events {
					if e.PCR != 11 {
						kept = append(kept, e)
					}
				}
				l.Events = kept
			}, "no UKI with an initrd was booted",
		},
		{"programs", "  programs: [shim 16.1, sha256:a68f6d71ebddaa19751ff8d729f67d11b0df8e4c49400c3e7e90de16119e1265, sha256:5f21ff2c0d5d899842b28a8b19901ba72cf7a7ab93c02a77fadc6ff72be85b31]\n", "grub", nil, func(l *eventlogtest.Log) {
			l.Insert(len(l.Events), eventlogtest.Event{PCR: 4, Type: eventlogtest.Application, Digest: one})
		}, "a program (6b86b273…) was started"},
		{"command line", "  command-line: [console=ttyS0 panic=-1 root=/dev/mapper/root  ro]\n", "grub", nil, func(l *eventlogtest.Log) { command(l, "/vmlinuz init=/bin/sh") }, `command line is "init=/bin/sh"`},
		{"command line, of a UKI that does not say it", "  command-line: [console=ttyS0 panic=-1 root=/dev/mapper/root ro]\n", "secure", nil, func(l *eventlogtest.Log) { l.CommandLine = "x" }, "the command line is not known"},
		{"command line, with an addon", "  command-line: [console=ttyS0 panic=-1 root=/dev/mapper/root ro]\n", "secure", nil, func(l *eventlogtest.Log) {
			l.Insert(len(l.Events), eventlogtest.Event{PCR: 12, Type: eventlogtest.IPL, Digest: two, Data: []byte("x.addon.efi")})
		}, "the boot stub was given more than a command line"},
		{"firmware", "  firmware: [\"1.2\"]\n", "secure", version("1.2"), version("1.1"), "firmware is 1.1"},
		{"no unknown part of PCR 7", "  secure-boot: on\n  db: [" + snakeoil + "]\n", "secure", nil, func(l *eventlogtest.Log) {
			i := l.Find(7, eventlogtest.Separator, func(eventlogtest.Event) bool { return true })
			l.Insert(i, eventlogtest.Event{PCR: 7, Type: 0x80000007, Digest: sha256.Sum256([]byte("UEFI Debug Mode")), Data: []byte("UEFI Debug Mode")})
		}, "something else of Secure Boot"},
	} {
		for change, want := range map[*func(*eventlogtest.Log)]kms.Status{&row.good: kms.OK, &row.bad: kms.PCRMismatch} {
			f := booted(row.boot, *change)
			f.Releases = map[string]policy.Release{"x": release(t, row.content)}
			f.Settings.Releases = []string{"x"}
			for pcr := range f.Pins { // the release alone decides
				if !(row.name == "db" || row.name == "any signed image") || want != kms.OK {
					f.Pins[pcr] = f.PCRs[pcr]
				}
			}
			v := policy.Judge(f)
			why := boot(v)
			if v.Status != want || want != kms.OK && !strings.Contains(why, row.says) {
				t.Errorf("%s: Judge = %v, %q; want %v, and the twin to say %q", row.name, v.Status, why, want, row.says)
			}
		}
	}
}

// boot is what was said of the boot state.
func boot(v policy.Verdict) string {
	for _, c := range v.Checks {
		if c.Rule == policy.RuleBootState {
			return c.Why
		}
	}
	return ""
}

// level makes shim's SBAT level another one.
func level(l *eventlogtest.Log, text string) {
	for i, e := range l.Events {
		if e.PCR == 7 && strings.Contains(string(e.Data), "sbat,1,") {
			head := e.Data[:32+2*len("SbatLevel")]
			head[24], head[25] = byte(len(text)), byte(len(text)>>8)
			l.Events[i].Data = append(head, text...)
			l.Events[i].Digest = sha256.Sum256(l.Events[i].Data)
		}
	}
}

// command makes GRUB start another kernel.
func command(l *eventlogtest.Log, line string) {
	i := l.Find(8, eventlogtest.IPL, func(e eventlogtest.Event) bool { return strings.HasPrefix(string(e.Data), "kernel_cmdline: ") })
	l.Events[i].Data, l.Events[i].Digest = []byte("kernel_cmdline: "+line), sha256.Sum256([]byte(line))
	l.CommandLine = "BOOT_IMAGE=" + line
}

func version(v string) func(*eventlogtest.Log) {
	return func(l *eventlogtest.Log) {
		i := l.Find(0, eventlogtest.SCRTMVersion, func(eventlogtest.Event) bool { return true })
		var data []byte
		for _, c := range v + "\x00" {
			data = append(data, byte(c), 0)
		}
		l.Events[i].Data, l.Events[i].Digest = data, sha256.Sum256(data)
	}
}

// A content that was not judged, or rests on what was not quoted, is none.
func TestContentNeedsProof(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*policy.Facts)
		says   string
	}{
		{"no log yet", func(f *policy.Facts) { f.Boot = nil }, "its event log was not judged yet"},
		{"a log that was refused", func(f *policy.Facts) { f.Boot, f.LogRefused = nil, "PCR 7 does not add up" }, "PCR 7 does not add up"},
		{"PCR 4 was not quoted", func(f *policy.Facts) { delete(f.PCRs, 4) }, "PCR 4 was not quoted"},
		{"Secure Boot without db leaves PCR 7 pinned", func(f *policy.Facts) { f.Pins[7] = policy.Digest{7} }, "PCRs 7 are not the approved ones"},
	} {
		f := booted("grub", nil)
		f.Releases = map[string]policy.Release{"x": release(t, "  secure-boot: on\n  programs: [shim 16.1, sha256:a68f6d71ebddaa19751ff8d729f67d11b0df8e4c49400c3e7e90de16119e1265, sha256:5f21ff2c0d5d899842b28a8b19901ba72cf7a7ab93c02a77fadc6ff72be85b31]\n")}
		f.Settings.Releases = []string{"x"}
		row.change(&f)
		if v := policy.Judge(f); v.Status != kms.PCRMismatch || !strings.Contains(boot(v), row.says) {
			t.Errorf("%s: Judge = %v, %q, want pcr-mismatch and %q", row.name, v.Status, boot(v), row.says)
		}
	}
}

func TestWrongContent(t *testing.T) {
	for text, says := range map[string]string{
		"secure-boot: off": "want on",
		"db: [microsoft]":  "no well-known certificate of that name; there are microsoft-kek-2011",
		"db: [sha256:12]":  "not 64 hex digits",
		"db: [./none.pem]": "no such file",
		"sbat: [shim]":     "a component and its lowest generation",
		"sbat: [shim -1]":  "a component and its lowest generation",
		"image: any":       "want signed",
		"image: signed":    "needs secure-boot: on and signers",
		"{image: signed, secure-boot: on, signers: [microsoft-uefi-2011]}": "they vouch for boot loaders that start any initrd",
		"programs: [grub]": "policy.programs has no such name",
		"dbx: ./none":      "no such file",
	} {
		var c policy.ReleaseConfig
		err := yaml.Unmarshal([]byte(fmt.Sprintf("name: x\ncontent: {%s}", strings.Trim(text, "{}"))), &c)
		if err == nil {
			_, err = policy.Config{Releases: []policy.ReleaseConfig{c}}.Policy(func(path string) ([]byte, error) { return nil, errors.New(path + ": no such file") })
		}
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("content {%s} = %v, want one that says %q", text, err, says)
		}
	}
}

// A quote holds what the policy asks for, and no more than before if it asks
// for nothing.
func TestSelection(t *testing.T) {
	p := &policy.Policy{}
	if got := fmt.Sprint(p.Selection()); got != "[7 11 12 15]" {
		t.Errorf("Selection() = %s", got)
	}
	p.Releases = map[string]policy.Release{"x": release(t, "  secure-boot: on\n  command-line: [ro]\n"), "y": {PCRs: map[int]policy.Digest{4: {}}}}
	if got := fmt.Sprint(p.Selection()); got != "[4 7 8 9 11 12 15]" {
		t.Errorf("Selection() = %s", got)
	}
}
