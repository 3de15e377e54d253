package boot_test

import (
	"bytes"
	"context"
	"crypto"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/boot/boottest"
	"latchkey/internal/pcr"
	"latchkey/internal/testlan"
	"latchkey/unlock/tpm"
	"latchkey/unlock/tpm/tpmtest"
)

// A systemd is that of a newer Debian (images/interop-root), which measures
// and reads logs with a software TPM. It finds files in its /tmp.
type systemd struct {
	root string
	chip *tpmtest.Simulator
	dir  string // of the files
}

func newSystemd(t *testing.T) systemd {
	t.Helper()
	root := testlan.DebianRoot(t)
	return systemd{root, tpmtest.Start(t), t.TempDir()}
}

func (s systemd) run(t *testing.T, args ...string) string {
	t.Helper()
	const script = `r=$1; mount -t proc proc "$r/proc"; mount --bind "$2" "$r/tmp"; mount --bind "$3" "$r/mnt"; shift 3; exec chroot "$r" "$@"`
	cmd := exec.Command("unshare", append([]string{"--mount", "sh", "-ec", script, "sh", s.root, s.dir, filepath.Dir(s.chip.Socket)}, args...)...)
	cmd.Env = append(
		os.Environ(), "SYSTEMD_TPM2_DEVICE=swtpm:path=/mnt/"+filepath.Base(s.chip.Socket), "SYSTEMD_FORCE_MEASURE=1",
		"SYSTEMD_MEASURE_LOG_USERSPACE=/tmp/userspace", "SYSTEMD_MEASURE_LOG_FIRMWARE=/tmp/firmware",
	)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

func (s systemd) open(t *testing.T) *tpm.TPM {
	t.Helper()
	dev, err := tpm.Open(s.chip.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	return dev
}

// bootLog is the log that a boot of ours leaves.
func bootLog(t *testing.T) (log string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := boottest.New("kms")
		defer m.End()
		if o, ok := m.Boot(time.Minute); !ok || o.Root == "" {
			t.Fatalf("no boot:\n%s", strings.Join(m.Log(), "\n"))
		}
		log = string(m.File("/run/log/systemd/tpm2-measure.log"))
	})
	return log
}

// TestPcrextend: our records of the phases are systemd-pcrextend's, byte for
// byte, but for the boot and the time (faults/node.md M12).
//
// compatible: TPM | systemd-pcrextend (Debian 13) | measures the words that the init measures
func TestPcrextend(t *testing.T) {
	s := newSystemd(t)
	for _, word := range []string{"enter-initrd", "leave-initrd"} {
		s.run(t, "/usr/lib/systemd/systemd-pcrextend", word)
	}
	real, err := os.ReadFile(filepath.Join(s.dir, "userspace"))
	if err != nil {
		t.Fatal(err)
	}

	vary := regexp.MustCompile(`"bootId":"[0-9a-f]{32}","timestamp":[0-9]+`)
	records := func(log string) (phases []string) {
		for r := range strings.SplitSeq(log, "\x1e") {
			if strings.Contains(r, `"eventType":"phase"`) {
				phases = append(phases, vary.ReplaceAllString(r, "…"))
			}
		}
		return phases
	}
	if got, want := records(bootLog(t)), records(string(real)); !slices.Equal(got, want) || len(want) != 2 {
		t.Errorf("our records are\n%q\nsystemd's are\n%q", got, want)
	}
}

// TestPcrlock: systemd-pcrlock recognizes every record of our log, and its
// replay gives what the TPM holds in each bank (faults/node.md M12).
//
// compatible: TPM | systemd-pcrlock (Debian 13) | finds the init's measurements in the event log
func TestPcrlock(t *testing.T) {
	s := newSystemd(t)
	dev := s.open(t)
	log := bootLog(t)
	extendAsLogged(t, dev, log)
	for name, data := range map[string][]byte{"userspace": []byte(log), "firmware": emptyFirmwareLog()} {
		if err := os.WriteFile(filepath.Join(s.dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	out := s.run(t, "/usr/lib/systemd/systemd-pcrlock", "log", "--json=short")
	var seen struct {
		Log []struct {
			PCR                int
			Event, Description string
		}
		PCRs []struct {
			PCR                 int
			HashMatchesEventLog bool
		}
	}
	if err := json.Unmarshal([]byte(out), &seen); err != nil {
		t.Fatalf("systemd-pcrlock log: %v\n%s", err, out)
	}
	var events []string
	for _, e := range seen.Log {
		events = append(events, e.Event+" "+e.Description)
	}
	want := []string{"phase enter-initrd", "volume-key cryptsetup:root:" + boottest.RootUUID, "phase leave-initrd"}
	if !slices.Equal(slices.Sorted(slices.Values(events)), slices.Sorted(slices.Values(want))) {
		t.Errorf("systemd-pcrlock sees %q, want %q", events, want)
	}
	for _, p := range seen.PCRs {
		if !p.HashMatchesEventLog {
			t.Errorf("PCR %d does not hold what the log says:\n%s", p.PCR, out)
		}
	}
	if len(seen.PCRs) != 24 {
		t.Errorf("systemd-pcrlock shows %d PCRs, want 24", len(seen.PCRs))
	}
}

// extendAsLogged extends the TPM with what the log says, in each bank. The
// TPM must have no bank that the log leaves out.
func extendAsLogged(t *testing.T, dev *tpm.TPM, log string) {
	t.Helper()
	ctx := context.Background()
	for record := range strings.SplitSeq(strings.TrimPrefix(log, "\x1e"), "\x1e") {
		var e struct {
			PCR     int
			Digests []struct{ HashAlg, Digest string }
		}
		if err := json.Unmarshal([]byte(record), &e); err != nil {
			t.Fatal(err)
		}

		digests := map[crypto.Hash][]byte{}
		for _, d := range e.Digests {
			raw, err := hex.DecodeString(d.Digest)
			if err != nil {
				t.Fatal(err)
			}
			digests[pcr.Bank(d.HashAlg)] = raw
		}
		err := dev.Extend(ctx, e.PCR, func(h crypto.Hash) []byte {
			if digests[h] == nil {
				t.Errorf("the log has no digest for bank %v: %s", h, record)
			}
			return digests[h]
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// emptyFirmwareLog is a firmware's event log without an event: its header
// alone, which names the banks (TCG PC Client Platform Firmware Profile,
// section 10.4.5.1).
func emptyFirmwareLog() []byte {
	le := binary.LittleEndian
	spec := append([]byte("Spec ID Event03\x00"), 0, 0, 0, 0, 0, 2, 0, 2)
	spec = le.AppendUint32(spec, 4)
	for _, bank := range []struct{ alg, size uint16 }{{0x4, 20}, {0xb, 32}, {0xc, 48}, {0xd, 64}} {
		spec = le.AppendUint16(le.AppendUint16(spec, bank.alg), bank.size)
	}
	spec = append(spec, 0)

	head := le.AppendUint32(nil, 0)
	head = le.AppendUint32(head, 3) // EV_NO_ACTION
	head = append(head, make([]byte, 20)...)
	return append(le.AppendUint32(head, uint32(len(spec))), spec...)
}
