package worker_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/boot/boottest"
	"latchkey/boot/wire"
	"latchkey/internal/golden"
	"latchkey/internal/plan"
	"latchkey/kms"
)

// kinds are the names of what the worker says.
var kinds = map[wire.Kind]string{
	wire.KindStep: "step", wire.KindWaiting: "waiting", wire.KindOpened: "opened", wire.KindClosed: "closed", wire.KindRoot: "root",
	wire.KindSwap: "swap", wire.KindDone: "done", wire.KindFailed: "failed", wire.KindWantCiphers: "wants ciphers",
}

// story is what a worker said, a line each, less the times and the
// measurements. Steps that run beside the story are sorted to its end,
// volumes that are opened side by side are sorted, and what is said again
// and again stands there once.
func story(said []wire.Record) string {
	var lines, beside, open []string
	for _, r := range said {
		line := kinds[r.Kind]
		for _, part := range []string{r.Name, r.Code, r.Text} {
			if part != "" {
				line += " | " + part
			}
		}
		if r.Kind == wire.KindOpened {
			line += fmt.Sprintf(" | keyslot %d", r.Slot)
		}
		if r.Kind == wire.KindWantCiphers || r.Kind == wire.KindStep && slices.Contains([]string{"modules", "net", "tpm", "find", "report"}, r.Name) {
			beside = append(beside, line)
			continue
		}
		if r.Kind == wire.KindOpened || r.Name == "unlock" {
			open = append(open, line)
			continue
		}
		slices.Sort(open)
		lines = append(append(lines, open...), line)
		open = nil
	}
	lines = slices.Compact(lines)
	slices.Sort(beside)
	return strings.Join(lines, "\n") + "\n\nbeside it:\n" + strings.Join(beside, "\n") + "\n"
}

func addData(m *boottest.Machine, nofail bool, sources ...string) *boottest.Disk {
	d := boottest.DataDisk()
	m.Disks = append(m.Disks, d)
	m.Plan.Volumes = append(m.Plan.Volumes, plan.Volume{UUID: boottest.DataUUID, Name: "data", Sources: sources, NoFail: nofail})
	m.KMS.Keys[boottest.DataUUID] = boottest.Key
	return d
}

// TestStory compares what the worker says in whole runs with golden files,
// so that its order can be reviewed as text, as PID 1's can.
func TestStory(t *testing.T) {
	for _, row := range []struct {
		name    string
		sources []string
		tpm     string // the code that PID 1 tells of the TPM
		change  func(*boottest.Machine)
	}{
		{"good", []string{"kms"}, "", nil},
		{"two-volumes", []string{"kms"}, "", func(m *boottest.Machine) { addData(m, false, "kms") }},
		{"typed", []string{"kms", "prompt"}, "tpm-failed", func(m *boottest.Machine) {
			m.Person.Types, m.Person.After = []string{"guess", boottest.Recovery}, time.Minute
		}},
		{"nofail-refused", []string{"kms"}, "", func(m *boottest.Machine) {
			addData(m, true, "kms")
			m.KMS.Refused = map[string]kms.Status{boottest.DataUUID: kms.NotBound}
		}},
		{"rotated", []string{"kms"}, "", func(m *boottest.Machine) {
			m.KMS.Staged = map[string]string{boottest.RootUUID: "the next key of thirty-two bytes"}
		}},
		{"no-grant", []string{"kms"}, "", func(m *boottest.Machine) { m.KMS.State = "refuses" }},
		{"bad-entries", []string{"kms"}, "", func(m *boottest.Machine) {
			m.Plan.Find.URLs = []string{"kms.example.com", "http://192.0.2.1:7741", "http://192.0.2.1:77410"}
			m.Plan.Find.Services = []string{"_Latch key._tcp"}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var got string
			synctest.Test(t, func(t *testing.T) {
				m := boottest.New(row.sources...)
				defer m.End()
				if row.change != nil {
					row.change(m)
				}
				said, ended := m.RunWorker(row.tpm, time.Hour)
				if !ended {
					t.Errorf("the worker did not end:\n%s", strings.Join(m.Log(), "\n"))
				}
				got = story(said)
			})
			golden.Check(t, row.name, got)
		})
	}
}

// run runs a worker on a machine and hands what it said to check.
func run(t *testing.T, name string, m func() *boottest.Machine, check func(*testing.T, *boottest.Machine, []wire.Record)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := m()
			defer m.End()
			said, ended := m.RunWorker("", time.Hour)
			if !ended {
				t.Fatalf("the worker did not end:\n%s", strings.Join(m.Log(), "\n"))
			}
			check(t, m, said)
		})
	})
}

// TestFailures: each thing that is wrong has its code, and the class that
// lets PID 1 decide.
func TestFailures(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*boottest.Machine)
		code   string
	}{
		{"no disk", func(m *boottest.Machine) { m.Disks, m.Plan.Wait = nil, time.Minute }, "volume-missing"},
		{"another serial", func(m *boottest.Machine) { m.Plan.Volumes[0].Serial, m.Plan.Wait = "disk-x", time.Minute }, "volume-missing"},
		{"clones", func(m *boottest.Machine) {
			m.Disks = append(m.Disks, boottest.RootDisk())
			m.Disks[1].Name, m.Disks[1].Serial = "vdb", "disk-b"
		}, "volume-clones"},
		{"two paths", func(m *boottest.Machine) {
			m.Disks = append(m.Disks, boottest.RootDisk())
			m.Disks[1].Name = "vdb"
		}, "volume-multipath"},
		{"both headers damaged", func(m *boottest.Machine) { m.Disks[0].DamageHeaders() }, "headers-damaged"},
		{"LUKS1 that nobody asked for", func(m *boottest.Machine) { m.Disks[0].MakeLUKS1() }, "header-rejected"},
		{"a header that the plan does not pin", func(m *boottest.Machine) { m.Plan.Volumes[0].Digest = strings.Repeat("00", 32) }, "volume-locked"},
		{"a key that opens nothing", func(m *boottest.Machine) { m.KMS.Keys[boottest.RootUUID] = "another key of thirty-two bytes!" }, "wrong-key"},
		{"sealed by another TPM", func(m *boottest.Machine) { m.KMS.Keys[boottest.RootUUID] = boottest.Sealed("")[:8] + "x" }, "wrong-key"},
		{"refused by a final status", func(m *boottest.Machine) {
			m.KMS.Refused = map[string]kms.Status{boottest.RootUUID: kms.HeaderDiffers}
		}, "header-differs"},
		{"the TPM fails", func(m *boottest.Machine) { m.TPM.State = "failed" }, "tpm-failed"},
		{"an owner's password", func(m *boottest.Machine) { m.TPM.State = "auth" }, "tpm-auth"},
		{"no key server", func(m *boottest.Machine) { m.KMS.State = "away" }, "kms-timeout"},
		{"a stranger's key server", func(m *boottest.Machine) { m.KMS.State = "wrong pin" }, "kms-timeout"},
		{"no address of a key server", func(m *boottest.Machine) { m.Plan.Find.URLs = []string{"ftp://x"} }, "kms-bad-url"},
		{"a pin that is none", func(m *boottest.Machine) { m.Plan.Trust.KMS = []plan.PublicKey{"x"} }, "plan-invalid"},
		{"root= of no volume", func(m *boottest.Machine) { m.Plan.Root.Device = "/dev/mapper/other" }, "root-not-in-plan"},
	} {
		run(t, row.name, func() *boottest.Machine {
			m := boottest.New("kms")
			row.change(m)
			return m
		}, func(t *testing.T, m *boottest.Machine, said []wire.Record) {
			if got := boottest.Failure(said); got != row.code {
				t.Errorf("failed with %q, want %q:\n%s", got, row.code, story(said))
			}
		})
	}
}

// TestReport: the KMS is told of each volume that it granted.
func TestReport(t *testing.T) {
	run(t, "one opens, one does not", func() *boottest.Machine {
		m := boottest.New("kms")
		addData(m, true, "kms")
		m.KMS.Keys[boottest.DataUUID] = "another key of thirty-two bytes!"
		return m
	}, func(t *testing.T, m *boottest.Machine, said []wire.Record) {
		if len(m.KMS.Reports) != 2 || m.KMS.Reports[0].Outcome != kms.OpenedActive || m.KMS.Reports[1].Outcome != kms.NotOpened {
			t.Errorf("reported %+v, want the root opened and data not", m.KMS.Reports)
		}
	})
	run(t, "the plan says no", func() *boottest.Machine {
		m := boottest.New("kms")
		m.Plan.Find.NoReport = true
		return m
	}, func(t *testing.T, m *boottest.Machine, said []wire.Record) {
		if len(m.KMS.Reports) != 0 {
			t.Errorf("reported %+v, want nothing", m.KMS.Reports)
		}
	})
	run(t, "only what lists the source kms is asked for", func() *boottest.Machine {
		m := boottest.New("kms")
		addData(m, true, "prompt")
		return m
	}, func(t *testing.T, m *boottest.Machine, said []wire.Record) {
		if len(m.KMS.Wanted) != 1 || len(m.KMS.Wanted[0]) != 1 {
			t.Errorf("asked for %v, want the root alone", m.KMS.Wanted)
		}
	})
}

const next = "the next key of thirty-two bytes"

// TestRotate: in one boot a volume gets its next secret and loses the old
// one, or keeps both until a later boot.
func TestRotate(t *testing.T) {
	for _, row := range []struct {
		name              string
		change            func(*boottest.Machine)
		old, new, recover bool // what opens in the end
		detail            string
	}{
		{"static", func(m *boottest.Machine) {}, false, true, true, "volumes=1"},
		{"the report is lost: both stay", func(m *boottest.Machine) { m.KMS.Deaf = true }, true, true, true, "unfinished"},
		{"the plan reports nothing", func(m *boottest.Machine) { m.Plan.Find.NoReport = true }, true, false, true, "unfinished"},
		{"a volume that is not written to", func(m *boottest.Machine) { m.Plan.Volumes[0].Options = []string{"read-only"} }, true, false, true, ""},
	} {
		run(t, row.name, func() *boottest.Machine {
			m := boottest.New("kms")
			m.KMS.Staged = map[string]string{boottest.RootUUID: next}
			row.change(m)
			return m
		}, func(t *testing.T, m *boottest.Machine, said []wire.Record) {
			d := m.Disks[0]
			if old, now, rec := d.Opens(boottest.Key) >= 0, d.Opens(next) >= 0, d.Opens(boottest.Recovery) >= 0; old != row.old || now != row.new || rec != row.recover {
				t.Errorf("opens by the old key: %t, the next: %t, the recovery key: %t, want %t, %t, %t", old, now, rec, row.old, row.new, row.recover)
			}
			if got := detail(said, "rotate"); got != row.detail {
				t.Errorf("the step says %q, want %q", got, row.detail)
			}
			if boottest.Failure(said) != "" {
				t.Errorf("a rotation failed the boot:\n%s", story(said))
			}
		})
	}
}

// detail is what a step says, "" if there was none.
func detail(said []wire.Record, step string) string {
	for _, r := range said {
		if r.Kind == wire.KindStep && r.Name == step {
			return r.Text
		}
	}
	return ""
}

// A secret that is bound to the TPM is made, sealed and left with the KMS
// by the machine itself.
func TestRotateBound(t *testing.T) {
	run(t, "due", func() *boottest.Machine {
		m := boottest.New("kms")
		m.KMS.Keys[boottest.RootUUID] = boottest.Sealed(boottest.Key)
		m.KMS.Staged = map[string]string{boottest.RootUUID: boottest.Due}
		return m
	}, func(t *testing.T, m *boottest.Machine, said []wire.Record) {
		made, ok := strings.CutPrefix(m.KMS.Keys[boottest.RootUUID], boottest.Sealed(""))
		if !ok || made == boottest.Key || m.Disks[0].Opens(made) < 0 || m.Disks[0].Opens(boottest.Key) >= 0 {
			t.Errorf("want a new sealed secret that opens the volume, and the old one not to:\n%s\n%s", story(said), strings.Join(m.Log(), "\n"))
		}
	})
}

// What an earlier boot left over is ended by the next one, whoever was cut
// off where.
func TestRotateGoesOn(t *testing.T) {
	left := func(committed bool) func() *boottest.Machine {
		return func() *boottest.Machine {
			first := boottest.New("kms")
			first.KMS.Staged, first.KMS.Deaf = map[string]string{boottest.RootUUID: next}, true
			first.RunWorker("", time.Hour)
			first.End()

			m := boottest.New("kms")
			m.Disks = first.Disks
			if committed {
				m.KMS.Keys[boottest.RootUUID] = next
			}
			return m
		}
	}
	run(t, "committed", left(true), func(t *testing.T, m *boottest.Machine, said []wire.Record) {
		if m.Disks[0].Opens(next) < 0 || m.Disks[0].Opens(boottest.Key) >= 0 {
			t.Errorf("want the next key alone to open:\n%s", story(said))
		}
	})
	run(t, "called off", left(false), func(t *testing.T, m *boottest.Machine, said []wire.Record) {
		if m.Disks[0].Opens(next) >= 0 || m.Disks[0].Opens(boottest.Key) < 0 {
			t.Errorf("want the old key alone to open:\n%s", story(said))
		}
	})
}
