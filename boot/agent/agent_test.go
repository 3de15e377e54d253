package agent_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/boot/agent"
	"latchkey/boot/boottest"
	"latchkey/boot/codes"
	"latchkey/boot/wire"
	"latchkey/internal/pcr"
	"latchkey/internal/plan"
	"latchkey/kms"
)

// A boot is one of others', with an agent in it.
type boot struct {
	*testing.T
	machine *boottest.Machine
	sys     *boottest.Agent
	agent   *agent.Agent
	end     context.CancelFunc
	ended   chan error
}

// inBoot runs a test in a boot whose agent has begun.
func inBoot(t *testing.T, sources []string, change func(*boottest.Machine, *boottest.Agent), test func(*boot)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &boot{T: t, machine: boottest.New(sources...), ended: make(chan error, 1)}
		defer b.machine.End()
		b.sys = b.machine.Agent()
		if change != nil {
			change(b.machine, b.sys)
		}
		b.start()
		defer func() { b.end(); synctest.Wait() }()
		test(b)
	})
}

func (b *boot) start() {
	b.Helper()
	a, err := agent.New(b.sys)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.agent, b.end, b.ended = a, cancel, make(chan error, 1)
	go func() { b.ended <- a.Run(ctx) }()
}

// key asks for a key, for a virtual hour at the most.
func (b *boot) key(name string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	k, given, err := b.agent.Take(ctx, name)
	if err != nil {
		return "", err
	}
	defer given(true)
	return string(k.Reveal()), nil
}

// want asks for a key that must be there.
func (b *boot) want(name, key string) {
	b.Helper()
	if got, err := b.key(name); err != nil || got != key {
		b.Errorf("the key for %s is %q, %v, want %q\n%s", name, got, err, key, b.log())
	}
}

// refuse asks for a key that must not be there.
func (b *boot) refuse(name, why string) {
	b.Helper()
	if got, err := b.key(name); err == nil || !strings.Contains(err.Error(), why) {
		b.Errorf("the key for %s is %q, %v, want an error with %q\n%s", name, got, err, why, b.log())
	}
}

func (b *boot) log() string { return strings.Join(b.machine.Log(), "\n") }

// measured is what PCRs hold after extends.
func measured(texts ...string) (value [32]byte) {
	for _, text := range texts {
		d := pcr.Measure([]byte(text))
		value = wire.Extended(value, d.SHA256)
	}
	return value
}

func addData(m *boottest.Machine, nofail bool, sources ...string) *boottest.Disk {
	d := boottest.DataDisk()
	m.Disks = append(m.Disks, d)
	m.Plan.Volumes = append(m.Plan.Volumes, plan.Volume{UUID: boottest.DataUUID, Name: "data", Sources: sources, NoFail: nofail})
	m.KMS.Keys[boottest.DataUUID] = boottest.Key
	return d
}

// All volumes are fetched in one challenge, and the TPM is closed behind them
// before the first answer: PCRs are as when our own init opens them.
func TestFetchesOnceAndLatches(t *testing.T) {
	var ours [24][32]byte
	synctest.Test(t, func(t *testing.T) {
		inits := boottest.New("kms")
		defer inits.End()
		addData(inits, false, "kms")
		if o, ok := inits.Boot(time.Hour); !ok || o.Root == "" {
			t.Fatal("our own init does not boot the machine")
		}
		ours = inits.TPM.PCRs
	})

	inBoot(t, []string{"kms"}, func(m *boottest.Machine, _ *boottest.Agent) { addData(m, false, "kms") }, func(b *boot) {
		b.want("/dev/vda", boottest.Key)
		if b.machine.KMS.Asked != 1 || len(b.machine.KMS.Wanted[0]) != 2 {
			b.Errorf("the key server was asked %d times, for %d volumes, want once for 2", b.machine.KMS.Asked, len(b.machine.KMS.Wanted[0]))
		}
		if got := b.machine.TPM.PCRs; got != ours {
			b.Errorf("PCR 11 and 15 are %x and %x at the first answer, want %x and %x", got[11], got[15], ours[11], ours[15])
		}
		b.refuse("root", "was given already")
		b.refuse("/dev/vdc", "names no such volume")
		b.refuse("swap", "names no such volume")
		b.want("data", boottest.Key)
		if err := <-b.ended; err != nil {
			b.Errorf("the agent ended with %v, want nil when all is given", err)
		}
		if n := b.machine.TPM.Loaded(); n != 0 {
			b.Errorf("%d objects are left in the TPM", n)
		}
		if len(b.machine.Mapped()) > 0 {
			b.Errorf("the agent mapped %q", b.machine.Mapped())
		}
		if len(b.machine.KMS.Reports) != 2 {
			b.Errorf("the key server was told of %d volumes, want 2", len(b.machine.KMS.Reports))
		}
	})
}

// systemd measures the phases where it does so already.
func TestPhasesOfOthers(t *testing.T) {
	enter := measured("enter-initrd")
	inBoot(t, []string{"kms"}, func(m *boottest.Machine, a *boottest.Agent) {
		a.Phases, m.TPM.PCRs[11] = true, enter
	}, func(b *boot) {
		b.want("root", boottest.Key)
		if b.machine.TPM.PCRs[11] != enter || b.machine.TPM.Extends[15] != 1 {
			b.Errorf("PCR 11 is %x, want %x; PCR 15 was extended %d times", b.machine.TPM.PCRs[11], enter, b.machine.TPM.Extends[15])
		}
	})
}

// A volume that was measured before is an error that says so.
func TestMeasuredBefore(t *testing.T) {
	inBoot(t, []string{"kms"}, func(m *boottest.Machine, _ *boottest.Agent) { m.TPM.PCRs[15][0] = 1 }, func(b *boot) {
		b.refuse("root", "PCR 15 is not zero")
		if b.machine.KMS.Asked > 0 {
			b.Error("the key server was asked")
		}
		if !strings.Contains(b.log(), codes.PCR15Used) {
			b.Errorf("nobody was told:\n%s", b.log())
		}
	})
}

// A TPM that cannot be closed gives no key that it has proved for; one that
// another source has is given.
func TestCannotLatch(t *testing.T) {
	inBoot(t, []string{"kms"}, func(m *boottest.Machine, _ *boottest.Agent) { m.TPM.Refuses = 15 }, func(b *boot) {
		b.refuse("root", "closing the TPM")
	})
	keyFile := func(m *boottest.Machine, _ *boottest.Agent) {
		m.Plan.KeyFiles = []plan.KeyFile{{Name: "key-file", Path: "/root.key"}}
		m.Keys = map[string]string{"/keys/key-file": boottest.Key}
	}
	for _, state := range []string{"failed", "missing"} {
		inBoot(t, []string{"key-file"}, func(m *boottest.Machine, a *boottest.Agent) {
			keyFile(m, a)
			m.TPM.State = state
		}, func(b *boot) {
			b.want("root", boottest.Key)
		})
	}
	inBoot(t, []string{"key-file"}, func(m *boottest.Machine, a *boottest.Agent) {
		keyFile(m, a)
		m.TPM.Refuses = 15
	}, func(b *boot) {
		b.want("root", boottest.Key)
		if !strings.Contains(b.log(), "closing the TPM") {
			b.Errorf("nobody was told that the TPM is open:\n%s", b.log())
		}
	})
}

// A TPM that fails for a while is tried again.
func TestTPMComesBack(t *testing.T) {
	inBoot(t, []string{"kms"}, func(m *boottest.Machine, _ *boottest.Agent) { m.TPM.State, m.TPM.Until = "failed", 20*time.Second }, func(b *boot) {
		b.want("root", boottest.Key)
	})
}

// A key server that refuses for good leaves no key, and says why; the TPM is
// closed.
func TestRefusedForGood(t *testing.T) {
	inBoot(t, []string{"kms"}, func(m *boottest.Machine, _ *boottest.Agent) {
		m.KMS.Refused = map[string]kms.Status{boottest.RootUUID: kms.HeaderDiffers}
	}, func(b *boot) {
		b.refuse("root", "header-differs")
		if b.machine.TPM.PCRs[15] != measured("latchkey-rescue") {
			b.Errorf("PCR 15 is %x", b.machine.TPM.PCRs[15])
		}
	})
}

// An operator approves: the machine showed its words, and goes on.
func TestApprovedLate(t *testing.T) {
	inBoot(t, []string{"kms", "prompt"}, func(m *boottest.Machine, _ *boottest.Agent) { m.KMS.State = "pending" }, func(b *boot) {
		time.AfterFunc(5*time.Minute, func() { b.machine.KMS.Set("") })
		b.want("root", boottest.Key)
		if !strings.Contains(b.log(), "this machine is ") || strings.Contains(b.log(), "recovery passphrase") {
			b.Errorf("the words are missing, or it prompted:\n%s", b.log())
		}
	})
}

// A secret that is replaced on the way is the one that is given: the keyslot
// of the old one is gone.
func TestRotates(t *testing.T) {
	inBoot(t, []string{"kms"}, func(m *boottest.Machine, _ *boottest.Agent) {
		m.KMS.Staged = map[string]string{boottest.RootUUID: "the next secret, which has 32 bytes"}
	}, func(b *boot) {
		got, err := b.key("root")
		if err != nil || b.machine.Disks[0].Opens(got) < 0 || b.machine.Disks[0].Opens(boottest.Key) >= 0 {
			b.Errorf("the key given is %q, %v; it opens keyslot %d, the old one %d", got, err, b.machine.Disks[0].Opens(got), b.machine.Disks[0].Opens(boottest.Key))
		}
	})
}

// A worker that fails for a while is started again, and what it has loaded
// into the TPM is gone.
func TestWorkerAgain(t *testing.T) {
	inBoot(t, []string{"kms"}, func(m *boottest.Machine, a *boottest.Agent) { a.EventsFail = 2 }, func(b *boot) {
		b.want("root", boottest.Key)
		if !strings.Contains(b.log(), "trying again") {
			b.Errorf("nobody was told:\n%s", b.log())
		}
	})
}

// One volume with nofail that has no key holds up nobody.
func TestOptionalVolume(t *testing.T) {
	inBoot(t, []string{"kms"}, func(m *boottest.Machine, _ *boottest.Agent) {
		addData(m, true, "kms")
		delete(m.KMS.Keys, boottest.DataUUID)
	}, func(b *boot) {
		b.want("root", boottest.Key)
		b.refuse("data", "no key")
		<-b.ended
	})
}

func TestPlansThatAreNone(t *testing.T) {
	for _, row := range []struct {
		name, want string
		change     func(*plan.Plan)
	}{
		{"prompt alone", "nothing is to be fetched", func(p *plan.Plan) { p.Volumes[0].Sources = []string{"prompt"} }},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := boottest.New("kms")
			defer m.End()
			row.change(m.Plan)
			if _, err := agent.New(m.Agent()); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("%s: New = %v, want %q", row.name, err, row.want)
			}
		})
	}
}
