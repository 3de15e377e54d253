package agent_test

import (
	"strings"
	"testing"
	"time"

	"latchkey/boot/boottest"
	"latchkey/boot/codes"
	"latchkey/internal/plan"
)

// A volume that needs neither TPM nor key server has its key, also where the
// root's are not to be had: without a TPM, and where PCR 15 says that the
// volumes of this boot were opened before. Who asks for the root is told why,
// without waiting.
func TestWhatNeedsNoTPM(t *testing.T) {
	for _, row := range []struct {
		name, why string
		within    time.Duration // how long a TPM is waited for
		change    func(m *boottest.Machine)
	}{
		{"no TPM", "no /dev/tpmrm0 after 30s", 31 * time.Second, func(m *boottest.Machine) { m.TPM.State = "missing" }},
		{"PCR 15 is extended", "PCR 15 is not zero", time.Second, func(m *boottest.Machine) { m.TPM.PCRs[15][0] = 1 }},
	} {
		for _, nofail := range []bool{false, true} {
			for _, root := range []string{"kms", plan.SourceSystemd} {
				t.Run(row.name, func(t *testing.T) {
					inBoot(t, []string{root}, func(m *boottest.Machine, _ *boottest.Agent) {
						byKeyFile(m, nofail)
						row.change(m)
					}, func(b *boot) {
						began := time.Now()
						b.refuse("root", row.why)
						if waited := time.Since(began); waited > row.within {
							b.Errorf("who asks for the root is told after %s", waited)
						}
						b.want("data", boottest.Key)
						b.refuse("/dev/vda", row.why) // whose volume was not looked for
						time.Sleep(time.Hour)         // virtual
						b.refuse("root", row.why)     // the agent is there to say so
						if b.machine.KMS.Asked > 0 {
							b.Error("the key server was asked")
						}
						b.end()
						<-b.ended
						b.refuse("root", "the early boot is over")
					})
				})
			}
		}
	}
}

// Who names the device of a volume is told why nothing was fetched, and not
// that the plan names no such volume.
func TestDeviceOfNoVolume(t *testing.T) {
	inBoot(t, []string{"kms"}, func(m *boottest.Machine, _ *boottest.Agent) { m.TPM.State = "missing" }, func(b *boot) {
		b.refuse("/dev/vda", "no /dev/tpmrm0 after 30s")
	})
}

// byKeyFile adds a volume that a key file in the image opens.
func byKeyFile(m *boottest.Machine, nofail bool) {
	addData(m, nofail, "key-file").Slow = time.Minute // each read of it
	m.Plan.KeyFiles = []plan.KeyFile{{Name: "key-file", Path: "/data.key"}}
	m.Keys = map[string]string{"/keys/key-file": boottest.Key}
}

// A second agent of a boot opens what needs no TPM, and nothing reboots.
func TestSecondAgent(t *testing.T) {
	inBoot(t, []string{"kms"}, func(m *boottest.Machine, _ *boottest.Agent) { byKeyFile(m, true) }, func(b *boot) {
		b.want("root", boottest.Key)
		b.end()
		<-b.ended
		b.start()
		b.refuse("root", "PCR 15 is not zero")
		b.want("data", boottest.Key)
		log := b.log()
		if !strings.Contains(log, codes.PCR15Used) || !strings.Contains(log, "type a passphrase, or reboot") || strings.Contains(log, "kexec") {
			b.Errorf("people are not told what it is:\n%s", log)
		}
	})
}
