package boot_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/boot/boottest"
	"latchkey/internal/plan"
)

// What TestRecovery crosses: threats F31 and F32, faults/node.md H3 and H5.
var (
	tpms    = []string{"ok", "missing", "failed", "auth", "unsupported", "slow"}
	servers = []string{"ok", "away", "refuses", "wrong pin"}
	disks   = []string{"ok", "one copy", "odd keyslot", "nofail broken", "clone"}
	sources = [][]string{{"kms"}, {"kms", "prompt"}, {"prompt"}}
)

// A cell is one machine of the matrix.
type cell struct {
	tpm, kms, disk string
	sources        []string
}

func (c cell) String() string {
	return fmt.Sprintf("tpm %s, kms %s, disk %s, %s", c.tpm, c.kms, c.disk, strings.Join(c.sources, "+"))
}

// want is what must become of it: the real root without anybody, the real
// root when somebody types the recovery key, or a reboot.
func (c cell) want() string {
	granted := slices.Contains(c.sources, "kms") && c.kms == "ok" && (c.tpm == "ok" || c.tpm == "slow")
	switch {
	case c.disk == "clone":
		return "reboot"
	case granted && (c.tpm == "ok" || len(c.sources) == 1):
		return "root"
	case slices.Contains(c.sources, "prompt"):
		return "prompt" // a slow TPM may win the race against it
	}
	return "reboot"
}

func (c cell) machine() *boottest.Machine {
	m := boottest.New(c.sources...)
	m.TPM.State = strings.TrimPrefix(c.tpm, "ok")
	m.KMS.State = strings.TrimPrefix(c.kms, "ok")
	if len(c.sources) == 1 && c.sources[0] == "prompt" {
		m.Plan.Trust.KMS = nil
	}
	root := m.Disks[0]
	switch c.disk {
	case "one copy":
		root.DamageCopy(0)
	case "odd keyslot":
		root.AddOddKeyslot()
	case "clone":
		clone := boottest.RootDisk()
		clone.Name, clone.Serial = "vdc", "disk-c"
		m.Disks = append(m.Disks, clone)
	case "nofail broken":
		data := boottest.DataDisk()
		data.DamageHeaders()
		m.Disks = append(m.Disks, data)
		m.Plan.Volumes = append(m.Plan.Volumes, plan.Volume{UUID: boottest.DataUUID, Name: "data", Sources: c.sources, NoFail: true})
	}
	return m
}

// TestRecovery boots every combination of TPM, key server, disk and
// sources, with somebody at the console who types the recovery key a
// minute after being asked. Every boot ends in the real root, or in a
// reboot that is neither late nor earlier than on-fail says, with the
// volumes closed and a TPM that works closed; and it is never silent.
func TestRecovery(t *testing.T) {
	var table strings.Builder
	for _, src := range sources {
		fmt.Fprintf(&table, "\nsources %v\n%-14s%-12s", src, "disk", "tpm")
		for _, server := range servers {
			fmt.Fprintf(&table, "kms %-14s", server)
		}
		table.WriteString("\n")
		for _, disk := range disks {
			for _, tpm := range tpms {
				fmt.Fprintf(&table, "%-14s%-12s", disk, tpm)
				for _, server := range servers {
					fmt.Fprintf(&table, "%-18s", bootCell(t, cell{tpm, server, disk, src}))
				}
				table.WriteString("\n")
			}
		}
	}
	t.Log(table.String())
}

// bootCell boots one machine and says how it ended and when.
func bootCell(t *testing.T, c cell) (end string) {
	synctest.Test(t, func(t *testing.T) {
		m := c.machine()
		defer m.End()
		m.Person.Types, m.Person.After = []string{boottest.Recovery}, time.Minute
		o, ok := m.Boot(24 * time.Hour)
		log := m.Log()
		fail := func(format string, args ...any) {
			t.Helper()
			t.Errorf("%s: %s\n%s", c, fmt.Sprintf(format, args...), strings.Join(log, "\n"))
		}
		if !ok {
			fail("no end within a day")
			end = "NONE"
			return
		}

		end = o.String()
		if m.Person.Asked() > 0 && o.Root != "" {
			end = "prompt"
		}
		if want := c.want(); end != want && !(c.tpm == "slow" && want == "prompt" && end == "root") {
			fail("ended with %s, want %s", end, want)
		}
		checkEnd(m, o, fail)
		if os.Getenv("RECOVERY") == c.String() {
			t.Log(strings.Join(log, "\n"))
		}
		end = fmt.Sprintf("%s %s", end, o.After.Round(time.Second))
	})
	return end
}

// checkEnd holds what is true of every end.
func checkEnd(m *boottest.Machine, o boottest.Outcome, fail func(string, ...any)) {
	log := strings.Join(m.Log(), "\n")
	if o.Root == "" {
		if most := m.Plan.Find.Timeout + 10*time.Minute; o.After < m.Plan.OnFail.After || o.After > most {
			fail("rebooted after %s, want %s to %s", o.After, m.Plan.OnFail.After, most)
		}
		if left := m.Mapped(); len(left) > 0 {
			fail("rebooted with %v open", left)
		}
		if m.TPM.Works() && m.TPM.PCRs[15] == [32]byte{} {
			fail("rebooted with PCR 15 as it was")
		}
		if !strings.Contains(log, "human: what to do:") {
			fail("nobody is told what to do")
		}
	}
	if o.Root != "" && m.TPM.Works() && (m.TPM.PCRs[15] == [32]byte{} || m.TPM.Extends[11] < 2) {
		fail("the root runs with the TPM open: PCR 15 extended %d times, PCR 11 %d", m.TPM.Extends[15], m.TPM.Extends[11])
	}
	if m.TPM.Works() && m.TPM.Loaded() > 0 && o.Root != "" {
		fail("%d objects are left in the TPM", m.TPM.Loaded())
	}
	for _, secret := range []string{boottest.Key, boottest.Recovery} {
		if strings.Contains(log, secret) {
			fail("a key is in the log")
		}
	}
	if o.After > time.Minute && !slices.ContainsFunc(m.Log(), func(l string) bool { return strings.Contains(l, "human: ") || strings.Contains(l, "console: ") }) {
		fail("silent for %s", o.After)
	}
}
