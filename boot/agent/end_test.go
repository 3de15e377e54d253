package agent_test

import (
	"testing"
	"testing/synctest"
	"time"

	"latchkey/boot/agent"
	"latchkey/boot/boottest"
)

// When the early boot is over there is no key any more, fetched or not, and
// another agent gets none.
func TestNothingAfterTheEnd(t *testing.T) {
	for _, row := range []struct {
		name, state string
		wait        time.Duration
		pcr15       func(got [32]byte) bool
	}{
		{"fetched and not given", "", time.Minute, func(got [32]byte) bool { return got != [32]byte{} }},
		{"not fetched yet", "pending", time.Minute, func(got [32]byte) bool { return got == measured("latchkey-rescue") }},
		{"asked in vain", "away", time.Minute, func(got [32]byte) bool { return got == measured("latchkey-rescue") }},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBoot(t, []string{"kms"}, func(m *boottest.Machine, _ *boottest.Agent) { m.KMS.State = row.state }, func(b *boot) {
				time.Sleep(row.wait) // virtual
				b.end()
				<-b.ended
				b.refuse("root", "the early boot is over")
				if !row.pcr15(b.machine.TPM.PCRs[15]) || b.machine.TPM.PCRs[11] != measured("enter-initrd", "leave-initrd") {
					b.Errorf("PCR 15 is %x, PCR 11 %x", b.machine.TPM.PCRs[15], b.machine.TPM.PCRs[11])
				}

				b.machine.KMS.Set("")
				b.start()
				b.refuse("root", "PCR 15 is not zero")
			})
		})
	}
}

// Whenever the end comes, also in the middle of the exchange or of a measurement
// of a slow TPM: no key is given after it, and the TPM is closed.
func TestEndAtAnyTime(t *testing.T) {
	for after := time.Duration(0); after < 5*time.Minute; after += 10 * time.Second {
		inBoot(t, []string{"kms"}, func(m *boottest.Machine, _ *boottest.Agent) { m.TPM.State = "slow" }, func(b *boot) {
			type answer struct {
				err error
				at  time.Time
			}
			waits := make(chan answer, 1) // somebody asks from the beginning
			go func() {
				_, err := b.key("root")
				waits <- answer{err, time.Now()}
			}()
			time.Sleep(after) // virtual
			over := time.Now()
			b.end()
			<-b.ended
			if w := <-waits; w.err == nil && w.at.After(over) {
				b.Errorf("the end was at %s, and a key was given %s later", after, w.at.Sub(over))
			} else if w.err == nil {
				return // it was in time
			}
			b.refuse("root", "the early boot is over")
			time.Sleep(time.Hour)
			b.refuse("root", "the early boot is over")
			if b.machine.TPM.PCRs[15] == [32]byte{} {
				b.Errorf("PCR 15 is zero after the end at %s", after)
			}
		})
	}
}

// Latch closes what no agent closed, once.
func TestLatchAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := boottest.New("kms")
		defer m.End()
		sys := m.Agent()
		for range 2 {
			if err := agent.Latch(t.Context(), sys); err != nil {
				t.Fatal(err)
			}
			if got := m.TPM.Extends; m.TPM.PCRs[15] != measured("latchkey-rescue") || got[11] != 1 || got[15] != 1 {
				t.Errorf("PCR 15 is %x after %d extends, PCR 11 after %d", m.TPM.PCRs[15], got[15], got[11])
			}
		}
	})
}
