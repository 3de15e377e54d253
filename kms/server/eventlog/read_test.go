package eventlog_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-eventlog/testdata"

	"latchkey/kms/server/eventlog"
	"latchkey/kms/server/eventlog/eventlogtest"
)

// The logs were recorded from Debian's OVMF: a UKI with Secure Boot off and
// on, and shim, GRUB and a kernel with Microsoft's keys; a kernel by
// systemd-boot, and by the firmware itself.
var boots = []string{"plain", "secure", "grub", "grub-2.12", "sdboot", "sdboot-257", "direct"}

func names(k *eventlog.Keys) (list []string) {
	for _, c := range k.Certificates {
		list = append(list, c.Name)
	}
	return list
}

func TestSummaries(t *testing.T) {
	type told struct {
		SecureBoot                     string
		PK, KEK, DB, Signers, Sections []string
		DBX, Programs, Files, Config   int
		Loads                          []string
		SBAT                           map[string]int
		CommandLine, KernelSaid        string
	}
	const snakeoil, line = "O=SnakeOil,L=Fort Collins,ST=Colorado,C=US", "console=ttyS0 panic=-1 root=/dev/mapper/root ro"
	stub := []string{".linux", ".osrel", ".cmdline", ".initrd"}
	for name, want := range map[string]told{
		"plain": {SecureBoot: "off", Sections: stub, Programs: 2, Files: 2, CommandLine: line, KernelSaid: "6.1.0-56-cloud-amd64"},
		"secure": {
			SecureBoot: "on", PK: []string{snakeoil}, KEK: []string{snakeoil}, DB: []string{snakeoil}, DBX: 1, Signers: []string{snakeoil},
			Sections: stub, Programs: 1, Files: 2, CommandLine: line, KernelSaid: "6.1.0-56-cloud-amd64",
		},
		"grub": {
			SecureBoot: "on", PK: []string{"Debian UEFI Secure Boot (PK/KEK key)"},
			KEK: []string{"Debian UEFI Secure Boot (PK/KEK key)", "Microsoft Corporation KEK CA 2011"},
			DB:  []string{"Microsoft Windows Production PCA 2011", "Microsoft Corporation UEFI CA 2011"}, DBX: 1,
			Signers: []string{"Microsoft Corporation UEFI CA 2011", "Debian Secure Boot CA"},
			Files:   3, Loads: []string{"linux /vmlinuz " + line, "initrd /initrd"},
			SBAT: map[string]int{"sbat": 1, "shim": 4, "grub": 5}, Programs: 4, CommandLine: line, KernelSaid: "6.1.0-56-cloud-amd64",
		},
	} {
		s, err := eventlog.Read(eventlogtest.Raw(name))
		if err != nil {
			t.Errorf("Read(%s) = %v", name, err)
			continue
		}
		got := told{
			s.SecureBoot, names(s.PK), names(s.KEK), names(s.DB), nil, nil, s.DBX.Hashes.Len(), len(s.Programs), len(s.Files), len(s.Config), s.Loads, s.SBAT, s.CommandLine, s.KernelSaid,
		}
		for _, one := range s.Signers {
			got.Signers = append(got.Signers, one.Certificate.Name)
		}
		for _, one := range s.Sections {
			got.Sections = append(got.Sections, one.Name)
		}
		if diff := cmp.Diff(want, got); diff != "" || len(s.Odd) > 0 {
			t.Errorf("Read(%s): odd %q (-want +got):\n%s", name, s.Odd, diff)
		}
	}
}

// TestPhases: userspace extends PCR 11 behind the firmware's log, with words
// that are known.
func TestPhases(t *testing.T) {
	log := eventlogtest.Recorded("secure")
	for _, row := range []struct {
		name    string
		phases  []string
		running bool
		read    bool
	}{
		{"the stub alone", nil, false, true},
		{"the init has begun", []string{"enter-initrd"}, false, true},
		{"a running system", []string{"enter-initrd", "leave-initrd", "sysinit", "ready"}, true, true},
		{"a word left out", []string{"leave-initrd"}, false, false},
		{"another word", []string{"enter-initrd", "x"}, false, false},
		{"another word on a running system, of which PCR 11 is not told", []string{"enter-initrd", "x"}, true, true},
	} {
		e := log.Evidence(row.phases...)
		e.Running = row.running
		if s, err := eventlog.Read(e); (err == nil) != row.read || err == nil && row.phases != nil && row.phases[len(row.phases)-1] == "x" && len(s.Sections) > 0 {
			t.Errorf("%s: Read = %v, %v", row.name, s, err)
		}
	}
}

// TestRefused: a log that is not that of the quoted boot.
func TestRefused(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*eventlog.Evidence)
		says   string
	}{
		{"of another boot", func(e *eventlog.Evidence) { e.Log = eventlogtest.Raw("plain").Log }, "do not add up"},
		{"an event taken out", func(e *eventlog.Evidence) {
			l := eventlogtest.Recorded("secure")
			i := l.Find(7, eventlogtest.Authority, func(eventlogtest.Event) bool { return true })
			l.Events = append(l.Events[:i], l.Events[i+1:]...)
			e.Log = l.Encode()
		}, "PCRs [7] do not add up"},
		{"all events of a PCR taken out", func(e *eventlog.Evidence) {
			l := eventlogtest.Recorded("secure")
			kept := l.Events[:0]
			for _, one := range l.Events {
				if one.PCR != 7 {
					kept = append(kept, one)
				}
			}
			l.Events = kept
			e.Log = l.Encode()
		}, "PCR 7 was extended, and it has no events of it"},
		{"an event added", func(e *eventlog.Evidence) {
			l := eventlogtest.Recorded("secure")
			l.Insert(len(l.Events), eventlogtest.Variable(eventlogtest.DriverConfig, "SecureBoot", []byte{1}))
			e.Log = l.Encode()
		}, "PCRs [7] do not add up"},
		{"a section of the UKI added", func(e *eventlog.Evidence) {
			l := eventlogtest.Recorded("secure")
			l.AddSection(".ucode", []byte("x"))
			e.Log = l.Encode()
		}, "PCR 11 does not add up"},
		{"cut short", func(e *eventlog.Evidence) { e.Log = e.Log[:len(e.Log)-7] }, "malformed"},
		{"garbage", func(e *eventlog.Evidence) { e.Log = bytes.Repeat([]byte{0x5a}, 5000) }, "malformed"},
		{"10 MB", func(e *eventlog.Evidence) { e.Log = make([]byte, 10<<20) }, "10485760 bytes"},
		{"a digest of another event", func(e *eventlog.Evidence) { e.PCRs[4] = eventlog.Digest{4} }, "PCRs [4] do not add up"},
		{"nothing at all", func(e *eventlog.Evidence) { e.Log = nil }, "malformed"},
	} {
		e := eventlogtest.Raw("secure")
		row.change(&e)
		if _, err := eventlog.Read(e); !errors.Is(err, eventlog.ErrLog) || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: Read = %v, want one that says %q", row.name, err, row.says)
		}
	}
}

// TestForged: what runs after the firmware extends PCR 7 with what it likes,
// and labels events as it likes, for types and data are not measured.
func TestForged(t *testing.T) {
	on := eventlogtest.Variable(eventlogtest.DriverConfig, "SecureBoot", []byte{1})
	separator := eventlogtest.Event{PCR: 7, Type: eventlogtest.Separator, Digest: sha256.Sum256(make([]byte, 4)), Data: make([]byte, 4)}
	isOff := func(e eventlogtest.Event) bool { return bytes.HasPrefix(e.Data[32:], []byte("S\x00e\x00c\x00")) }
	for _, row := range []struct {
		name   string
		change func(*eventlogtest.Log)
		want   string
	}{
		{"Secure Boot on, said after the separator", func(l *eventlogtest.Log) { l.Insert(len(l.Events), on) }, "off"},
		{"a second separator, and the first one labeled as something else", func(l *eventlogtest.Log) {
			l.Events[l.Find(7, eventlogtest.Separator, func(eventlogtest.Event) bool { return true })].Type = 5
			l.Events[l.Find(7, eventlogtest.DriverConfig, isOff)].Type = 5
			l.Events = append(l.Events, on, separator)
		}, "off"},
		{"the true event's data replaced", func(l *eventlogtest.Log) {
			l.Events[l.Find(7, eventlogtest.DriverConfig, isOff)].Data = on.Data
		}, ""},
		{"the separator's data replaced", func(l *eventlogtest.Log) {
			l.Events[l.Find(7, eventlogtest.Separator, func(eventlogtest.Event) bool { return true })].Data = []byte("xxxx")
			l.Events = append(l.Events, on, separator)
		}, "off"},
		{"measured twice by the firmware, the true one hidden", func(l *eventlogtest.Log) {
			i := l.Find(7, eventlogtest.DriverConfig, isOff)
			l.Events[i].Data = []byte("hidden")
			l.Insert(i, on)
		}, ""},
		{"measured twice by the firmware", func(l *eventlogtest.Log) { l.Insert(l.Find(7, eventlogtest.DriverConfig, isOff), on) }, ""},
	} {
		l := eventlogtest.Recorded("plain")
		row.change(l)
		s, err := eventlog.Read(l.Evidence())
		if err != nil || s.SecureBoot != row.want || len(s.Odd) == 0 && s.SecureBoot != "off" {
			t.Errorf("%s: Secure Boot %q, odd %q, %v, want %q", row.name, s.SecureBoot, s.Odd, err, row.want)
		}
	}

	hidden := eventlogtest.Recorded("secure") // a program labeled as something else
	hidden.Events[hidden.Find(4, eventlogtest.Application, func(eventlogtest.Event) bool { return true })].Type = 5
	if s := hidden.Summary(); len(s.Programs) != 1 {
		t.Errorf("programs = %v, want the one that was labeled as an action", s.Programs)
	}
}

// TestSayings: what a machine says of itself counts where it was measured.
func TestSayings(t *testing.T) {
	l := eventlogtest.Recorded("secure")
	l.AddSection(".uname", []byte("6.12.9-amd64"))
	l.Kernel, l.CommandLine = "6.12.9-amd64", "init=/bin/sh"
	if s := l.Summary(); s.Kernel != "6.12.9-amd64" || s.KernelSaid != "" || s.CommandLine != "" {
		t.Errorf("kernel %q and %q, command line %q: want the measured kernel, and no command line", s.Kernel, s.KernelSaid, s.CommandLine)
	}
	l.Kernel = "6.12.10-amd64"
	if s := l.Summary(); s.Kernel != "" || s.KernelSaid != "6.12.10-amd64" {
		t.Errorf("kernel %q and %q, want one that is only said", s.Kernel, s.KernelSaid)
	}
}

// Logs of other makers' firmware, as go-eventlog has them: each adds up to
// what it makes, and to nothing else.
func TestOthersLogs(t *testing.T) {
	for name, raw := range map[string][]byte{
		"arch": testdata.ArchLinuxWorkstationEventLog, "glinux": testdata.GlinuxAlexEventLog,
		"rhel": testdata.Rhel8EventLog, "ubuntu": testdata.Ubuntu2404AmdSevSnpEventLog,
		"no dbx": testdata.Ubuntu2104NoDbxEventLog, "no Secure Boot": testdata.Ubuntu2104NoSecureBootEventLog,
	} {
		l := eventlogtest.Parse(raw)
		e := eventlog.Evidence{Log: raw, PCRs: l.PCRs()}
		s, err := eventlog.Read(e)
		if err != nil || s.SecureBoot == "" || len(s.Programs) == 0 {
			t.Errorf("%s: Read = %+v, %v", name, s, err)
			continue
		}
		t.Logf("%s: Secure Boot %s, firmware %q, %d programs, odd %q", name, s.SecureBoot, s.Firmware, len(s.Programs), s.Odd)
		e.PCRs[7] = eventlog.Digest{7}
		if _, err := eventlog.Read(e); err == nil {
			t.Errorf("%s: taken for another PCR 7", name)
		}
	}
}

// TestAgainstTPM2Tools: tpm2_eventlog computes the PCRs that we hold the
// recorded logs against.
func TestAgainstTPM2Tools(t *testing.T) {
	tool, err := exec.LookPath("tpm2_eventlog")
	if err != nil {
		t.Skip("needs tpm2_eventlog (package tpm2-tools): run images/deps")
	}
	value := regexp.MustCompile(`(?m)^ +(\d+) +: 0x([0-9a-f]{64})$`)
	for _, name := range boots {
		e := eventlogtest.Raw(name)
		file := t.TempDir() + "/log"
		write(t, file, e.Log)
		out, err := exec.Command(tool, file).Output()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		found := value.FindAllSubmatch(out, -1)
		for _, f := range found {
			pcr, _ := strconv.Atoi(string(f[1]))
			var d eventlog.Digest
			if err := d.UnmarshalText(f[2]); err != nil || d != e.PCRs[pcr] {
				t.Errorf("%s: PCR %d is %x, tpm2_eventlog says %s", name, pcr, e.PCRs[pcr], f[2])
			}
		}
		if len(found) < 9 {
			t.Errorf("%s: tpm2_eventlog said only %d PCRs", name, len(found))
		}
	}
}
