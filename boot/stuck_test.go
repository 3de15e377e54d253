package boot_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/boot/boottest"
	"latchkey/internal/plan"
)

// addData adds a volume data on vdb to a machine.
func addData(m *boottest.Machine, nofail bool, sources ...string) *boottest.Disk {
	d := boottest.DataDisk()
	m.Disks = append(m.Disks, d)
	m.Plan.Volumes = append(m.Plan.Volumes, plan.Volume{UUID: boottest.DataUUID, Name: "data", Sources: sources, NoFail: nofail})
	m.KMS.Keys[boottest.DataUUID] = boottest.Key
	return d
}

// A row is a machine and how its boot must end.
type row struct {
	name    string
	sources []string
	change  func(*boottest.Machine)
	end     string        // "root", "reboot" or "reset"
	most    time.Duration // 0: an hour
	log     []string      // what must be in the log
	never   []string      // what must not
}

func (r row) boot(t *testing.T) {
	t.Run(r.name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := boottest.New(r.sources...)
			defer m.End()
			if r.change != nil {
				r.change(m)
			}
			most := r.most
			if most == 0 {
				most = time.Hour
			}
			o, ok := m.Boot(most)
			log := strings.Join(m.Log(), "\n")
			if !ok || o.String() != r.end {
				t.Fatalf("ended with %q within %s: %t, want %q:\n%s", o, most, ok, r.end, log)
			}
			for _, want := range r.log {
				if !strings.Contains(log, want) {
					t.Errorf("the log lacks %q:\n%s", want, log)
				}
			}
			for _, not := range r.never {
				if strings.Contains(log, not) {
					t.Errorf("the log has %q:\n%s", not, log)
				}
			}
			if o.Root == "" && m.TPM.Works() && m.TPM.Refuses != 15 && m.TPM.PCRs[15] == [32]byte{} {
				t.Errorf("the TPM was left open:\n%s", log)
			}
		})
	})
}

var (
	onlyKMS    = []string{"kms"}
	both       = []string{"kms", "prompt"}
	onlyPrompt = []string{"prompt"}
)

func types(m *boottest.Machine, lines ...string) {
	m.Person.Types, m.Person.After = lines, time.Minute
}

// TestStuck has drivers that never return: a child there cannot be killed.
// PID 1 goes on all the same (faults/node.md H6, threats F31).
func TestStuck(t *testing.T) {
	for _, r := range []row{
		{"the disk of the root, waited for without end", onlyKMS, func(m *boottest.Machine) {
			m.Disks[0].Stuck, m.Plan.Wait = true, time.Minute
		}, "reboot", 0, []string{"vda (no answer yet)", "the worker was killed and is not gone", "reboot in 1m0s"}, nil},
		{"the disk of a volume with nofail", onlyKMS, func(m *boottest.Machine) {
			addData(m, true, "kms").Stuck = true
		}, "root", time.Minute, []string{"volume data stays closed: volume-missing", "vdb (no answer yet)"}, nil},
		{"a disk that is none of ours", onlyKMS, func(m *boottest.Machine) {
			m.Disks = append(m.Disks, &boottest.Disk{Name: "sr0", Bytes: make([]byte, 1<<20), Stuck: true})
		}, "root", time.Minute, nil, nil},
		{"the disk while it is opened", onlyKMS, func(m *boottest.Machine) {
			m.Disks[0].StuckBeyond = 100 << 10
		}, "reboot", 0, []string{"unlock", "child-stuck: the worker was killed and is not gone"}, nil},
		{"the TPM", onlyKMS, func(m *boottest.Machine) { m.TPM.State = "stuck" }, "reboot", 0, []string{"the latch is not responding", "child-stuck: the latch was killed"}, nil},
		{"the TPM, and somebody at the console", both, func(m *boottest.Machine) {
			m.TPM.State = "stuck"
			types(m, boottest.Recovery)
		}, "root", 5 * time.Minute, []string{"the TPM is not used in this boot: child-stuck"}, nil},
		{"the TPM, while the machine waits for approval", both, func(m *boottest.Machine) {
			m.KMS.State = "pending"
			time.AfterFunc(30*time.Second, func() { m.TPM.Set("stuck") })
			types(m, boottest.Recovery)
		}, "root", 6 * time.Minute, []string{"the TPM is not used in this boot: child-stuck", "closing the TPM:"}, nil},
		{"the TPM, which is not asked for", onlyPrompt, func(m *boottest.Machine) {
			m.TPM.State = "stuck"
			types(m, boottest.Recovery)
		}, "root", 5 * time.Minute, nil, nil},
		{"the mount of the root", onlyKMS, func(m *boottest.Machine) { m.Stuck = map[string]bool{"mount": true} }, "reboot", 0, []string{"root-unusable", "no end after 10m0s"}, nil},
		{"unmounting and unmapping on the way down", onlyKMS, func(m *boottest.Machine) {
			m.Stuck = map[string]bool{"mount": true, "unmount": true, "remove mapping": true}
		}, "reboot", 0, []string{"removing mapping root: no end after 10s"}, nil},
		{"the reboot itself: the watchdog does it", onlyKMS, func(m *boottest.Machine) {
			m.KMS.State, m.Stuck, m.Dog = "away", map[string]bool{"reboot": true}, &boottest.Dog{}
		}, "reset", 0, []string{"reboot: reboot"}, nil},
	} {
		r.boot(t)
	}
}

// TestWatchdog: it is petted as long as a boot takes, and left to the real
// root as it was found.
func TestWatchdog(t *testing.T) {
	for _, r := range []struct {
		row
		left bool
	}{
		{row{name: "a quick boot", sources: onlyKMS, end: "root"}, true},
		{row{name: "hours of pending", sources: onlyKMS, end: "root", most: 7 * time.Hour, change: func(m *boottest.Machine) {
			m.KMS.State, m.Plan.Find.Timeout = "pending", 0
			time.AfterFunc(6*time.Hour, func() { m.KMS.Set("") })
		}}, true},
		{row{name: "a failed boot: armed for the reboot", sources: onlyKMS, end: "reboot", change: func(m *boottest.Machine) { m.KMS.State = "away" }}, false},
	} {
		dog := &boottest.Dog{}
		change := r.change
		r.change = func(m *boottest.Machine) {
			m.Dog = dog
			if change != nil {
				change(m)
			}
		}
		r.never = []string{"the watchdog resets"}
		r.boot(t)
		if dog.Pets == 0 || dog.Left != r.left {
			t.Errorf("%s: petted %d times, left as found: %t, want %t", r.name, dog.Pets, dog.Left, r.left)
		}
	}
}

// TestTPM has a TPM that is late, or lasts only so long.
func TestTPM(t *testing.T) {
	for _, r := range []row{
		{"not ready for half a second: faults/node.md M1", onlyKMS, func(m *boottest.Machine) {
			m.TPM.State, m.TPM.Until = "failed", 500*time.Millisecond
		}, "root", time.Minute, nil, []string{"the latch died 3"}},
		{"not ready for half a minute", onlyKMS, func(m *boottest.Machine) {
			m.TPM.State, m.TPM.Until = "failed", 30*time.Second
		}, "root", 2 * time.Minute, nil, nil},
		{"after a kexec, whoever stands there", both, func(m *boottest.Machine) {
			m.TPM.PCRs[15] = [32]byte{1}
			types(m, boottest.Recovery)
		}, "reboot", 10 * time.Second, []string{"pcr15-used", "reboot in 0s"}, []string{"console:"}},
		{"fails when it should be closed behind what the KMS gave", both, func(m *boottest.Machine) {
			m.TPM.Refuses = 15
		}, "reboot", 0, []string{"latch: latch: tpm-failed", "remove mapping root"}, nil},
		{"fails when it should be closed behind what was typed", both, func(m *boottest.Machine) {
			m.KMS.State, m.TPM.Refuses = "away", 15
			types(m, boottest.Recovery)
		}, "root", 5 * time.Minute, []string{"the TPM is not used in this boot: tpm-failed", "closing the TPM:"}, nil},
		{"unsupported, and typed: closed as far as it goes", both, func(m *boottest.Machine) {
			m.TPM.State, m.TPM.Until = "unsupported", 30*time.Second
			types(m, boottest.Recovery)
		}, "root", 5 * time.Minute, []string{"the TPM is not used in this boot: tpm-unsupported", `"tpm": false`}, nil},
	} {
		r.boot(t)
	}
}

// TestOutcomes: each volume has an outcome of its own (faults/node.md H5),
// and a typed line opens only what lists the source prompt (M6).
func TestOutcomes(t *testing.T) {
	for _, r := range []row{
		{"nofail, refused by the KMS", onlyKMS, func(m *boottest.Machine) {
			addData(m, true, "kms")
			delete(m.KMS.Keys, boottest.DataUUID)
		}, "root", time.Minute, []string{"volume data stays closed: no-secret", `"keyslot": -1, "code": "no-secret"`}, nil},
		{"nofail, a key that opens nothing", onlyKMS, func(m *boottest.Machine) {
			addData(m, true, "kms")
			m.KMS.Keys[boottest.DataUUID] = "another key of thirty-two bytes!"
		}, "root", time.Minute, []string{"volume data stays closed: wrong-key"}, nil},
		{"nofail, both headers damaged", onlyKMS, func(m *boottest.Machine) { addData(m, true, "kms").DamageHeaders() }, "root", time.Minute, []string{"volume data stays closed: headers-damaged"}, nil},
		{"needed, and a clone that is plugged in while the machine waits", onlyKMS, func(m *boottest.Machine) {
			m.KMS.State = "pending"
			clone := boottest.RootDisk()
			clone.Name, clone.Serial = "vdc", "disk-c"
			time.AfterFunc(10*time.Second, func() { m.Plug(clone) })
			time.AfterFunc(time.Minute, func() { m.KMS.Set("") })
		}, "reboot", 0, []string{"volume-clones"}, []string{"unlock root keyslot"}},
		{"nofail, a clone", onlyKMS, func(m *boottest.Machine) {
			addData(m, true, "kms")
			clone := boottest.DataDisk()
			clone.Name, clone.Serial = "vdc", "disk-c"
			m.Disks = append(m.Disks, clone)
		}, "root", time.Minute, []string{"volume data stays closed: volume-clones"}, nil},
		{"nofail, unreadable", onlyKMS, func(m *boottest.Machine) { addData(m, true, "kms").Reads = errors.New("EIO") }, "root", time.Minute, []string{"volume data stays closed: volume-missing"}, nil},
		{"nofail, on a disk that spins up for three seconds", onlyKMS, func(m *boottest.Machine) { addData(m, true, "kms").Slow = 500 * time.Millisecond }, "root", time.Minute, []string{"unlock data keyslot=0"}, []string{"stays closed"}},
		{"nofail, absent, beside a drive that never answers", onlyKMS, func(m *boottest.Machine) {
			addData(m, true, "kms")
			m.Disks[1] = &boottest.Disk{Name: "sr0", Bytes: make([]byte, 1<<20), Stuck: true}
		}, "root", 20 * time.Second, []string{"volume data stays closed: volume-missing"}, nil},
		{"nofail, absent", onlyKMS, func(m *boottest.Machine) {
			addData(m, true, "kms")
			m.Disks = m.Disks[:1]
		}, "root", time.Minute, []string{"volume data stays closed: volume-missing"}, nil},
		{"needed, a key that opens nothing, and a person", both, func(m *boottest.Machine) {
			m.KMS.Keys[boottest.RootUUID] = "another key of thirty-two bytes!"
			types(m, boottest.Recovery)
		}, "root", 5 * time.Minute, []string{"wrong-key", "unlock root keyslot=1"}, nil},
		{"needed, refused, and a person: the rest is the KMS's", both, func(m *boottest.Machine) {
			addData(m, false, "kms", "prompt")
			delete(m.KMS.Keys, boottest.RootUUID)
			types(m, "guess", boottest.Recovery)
		}, "root", 5 * time.Minute, []string{"no-secret", "0 of 2 volumes open", "unlock root keyslot=1", "unlock data keyslot="}, nil},
		{"root's recovery key ends the prompt beside a nofail disk of other keys", onlyPrompt, func(m *boottest.Machine) {
			addData(m, true, "prompt").SetRecovery("another recovery key altogether, of somebody")
			types(m, boottest.Recovery)
		}, "root", 5 * time.Minute, []string{"unlock root keyslot=1", "volume data stays closed: wrong-key"}, nil},
		{"a typed line opens only what lists prompt", onlyKMS, func(m *boottest.Machine) {
			addData(m, false, "prompt")
			m.KMS.State = "away"
			types(m, boottest.Recovery)
		}, "reboot", 0, []string{"1 of 1 volumes open", "kms-timeout"}, nil},
		{"each volume by its own source", onlyKMS, func(m *boottest.Machine) {
			addData(m, false, "prompt")
			types(m, boottest.Recovery)
		}, "root", 5 * time.Minute, []string{"unlock data keyslot=1"}, nil},
		{"the KMS is asked only for what lists it", onlyKMS, func(m *boottest.Machine) {
			addData(m, true, "prompt")
			m.KMS.Refused = nil
		}, "root", time.Minute, []string{"volume data stays closed: left-closed"}, nil},
		{"all nofail: the boot waits for all", onlyKMS, func(m *boottest.Machine) {
			m.Plan.Volumes[0].NoFail, m.Plan.Root.Device = true, "UUID=00000000-0000-0000-0000-000000000000" // of the file system
		}, "root", time.Minute, nil, nil},
	} {
		r.boot(t)
	}
}

// TestPrompt: the order of sources, and consoles that misbehave.
func TestPrompt(t *testing.T) {
	for _, r := range []row{
		{"prompt first: asked at once, the KMS after a head start", []string{"prompt", "kms"}, nil, "root", time.Minute, []string{"   0.0s console: latchkey: recovery passphrase:"}, nil},
		{"kms first: a quick boot shows no question", both, nil, "root", time.Second, nil, []string{"console:"}},
		{"kms lost: the question comes at once", both, func(m *boottest.Machine) {
			m.TPM.State = "auth"
			types(m, boottest.Recovery)
		}, "root", 90 * time.Second, []string{"   0.0s console: latchkey: recovery passphrase:", "tpm-auth"}, nil},
		{"Ctrl-D", onlyPrompt, func(m *boottest.Machine) { types(m, append(make([]string, 20), boottest.Recovery)...) }, "root", time.Hour, nil, []string{"the worker died", "the console failed"}},
		{"a console that fails at first", onlyPrompt, func(m *boottest.Machine) {
			m.Person.Fails = 3
			types(m, boottest.Recovery)
		}, "root", 5 * time.Minute, []string{"the console failed"}, []string{"the worker died"}},
		{"no console at all", onlyPrompt, func(m *boottest.Machine) { m.Person.Fails = 1 << 20 }, "reboot", time.Hour, []string{"asking at the console", "worker-dies"}, nil},
	} {
		r.boot(t)
	}
}

// TestPendingLeavesRoom: a machine that waits for approval holds one
// object in the TPM, not all three (faults/node.md M11).
func TestPendingLeavesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := boottest.New("kms")
		defer m.End()
		m.KMS.State, m.Plan.Find.Timeout = "pending", 0
		if o, ok := m.Boot(time.Hour); ok {
			t.Fatalf("ended with %s, want waiting", o)
		}
		if m.TPM.Loaded() > 1 {
			t.Errorf("%d objects are loaded in the TPM, want 1", m.TPM.Loaded())
		}
	})
}
