package boot_test

import (
	"strings"
	"testing"
	"time"

	"latchkey/boot/boottest"
)

// TestPIN: a token of systemd-cryptenroll with a PIN, which a person types.
func TestPIN(t *testing.T) {
	token, sealed := systemdToken("public")
	token = []byte(strings.Replace(string(token), `"tpm2-pin":false`, `"tpm2-pin":true`, 1))
	pin := func(change func(m *boottest.Machine), lines ...string) func(m *boottest.Machine) {
		return func(m *boottest.Machine) {
			m.Disks[0].AddToken(token)
			m.Plan.Systemd.Sealed, m.Plan.Systemd.PIN = []string{sealed}, true
			m.TPM.PIN, m.KMS.State = "1234", "away"
			m.Person.Types, m.Person.After = lines, 20*time.Second
			if change != nil {
				change(m)
			}
		}
	}
	const question = "console: latchkey: PIN of the TPM for root (Enter: none):"
	wrong := func(left string) string {
		return "console: latchkey: that is not the PIN, tries left: " + left + ". PIN of the TPM for root"
	}
	systemd, prompts := []string{"systemd-tpm2"}, []string{"systemd-tpm2", "prompt"}
	for _, r := range []row{
		{"the right PIN", systemd, pin(nil, "1234"), "root", time.Minute, []string{question, "  20.0s log: unlock root keyslot=0"}, []string{"does not open"}},
		{"wrong, then right", systemd, pin(nil, "4321", "1234"), "root", time.Minute, []string{question, wrong("2"), "  40.0s log: unlock root keyslot=0"}, []string{"tries left: 1"}},
		{"three wrong ones are the last", systemd, pin(nil, "1", "2", "3", "1234"), "reboot", time.Hour, []string{wrong("1"), "pin-wrong", "the TPM does not take the PIN, 3 times"}, []string{"unlock root keyslot", wrong("0")}},
		{"three wrong ones, then the recovery key", prompts, pin(nil, "1", "2", "3", boottest.Recovery), "root", 5 * time.Minute, []string{"  60.0s console: latchkey: recovery passphrase:", "unlock root keyslot=1"}, []string{"unlock root keyslot=0"}},
		{"no PIN, then the recovery key: one question at a time", prompts, pin(nil, "\r", boottest.Recovery), "root", 5 * time.Minute, []string{"no PIN was typed", "  20.0s console: latchkey: recovery passphrase:", "unlock root keyslot=1"}, nil},
		{"the TPM is locked out", prompts, pin(func(m *boottest.Machine) { m.TPM.Wrongs = 9 }, "1234", boottest.Recovery), "root", 5 * time.Minute, []string{"tpm-lockout", "TPM_RC_LOCKOUT", "unlock root keyslot=1"}, []string{"tries left"}},
		{"another boot: no second question", prompts, pin(func(m *boottest.Machine) { m.TPM.PCRs[7][0] = 1 }, "1234", boottest.Recovery), "root", 5 * time.Minute, []string{"tpm-seal-policy", "unlock root keyslot=1"}, []string{"tries left"}},
		{"the key server is quicker: the question goes", []string{"systemd-tpm2", "kms"}, pin(func(m *boottest.Machine) {
			m.KMS.Set("")
		}), "root", 10 * time.Second, []string{question, "   3.0s log: unlock root keyslot=0"}, nil},
		{"the plan does not say that it may be asked for", systemd, pin(func(m *boottest.Machine) { m.Plan.Systemd.PIN = false }, "1234"), "reboot", time.Hour, []string{"systemd-token", "token 0: it wants a PIN, and nobody may be asked for it: systemd-tpm2: {pin: true}"}, []string{"PIN of the TPM"}},
		{"a secret that the plan does not name", systemd, pin(func(m *boottest.Machine) { m.Plan.Systemd.Sealed = []string{zeros} }, "1234"), "reboot", time.Hour, []string{"the plan does not allow its sealed secret"}, []string{"PIN of the TPM"}},
		{"no TPM: nobody is asked", systemd, pin(func(m *boottest.Machine) { m.TPM.State = "missing" }, "1234"), "reboot", time.Hour, []string{"tpm-missing"}, []string{"PIN of the TPM"}},
		{"another header", systemd, pin(func(m *boottest.Machine) { m.Plan.Volumes[0].Digest = zeros }, "1234"), "reboot", time.Hour, []string{"volume-locked"}, []string{"PIN of the TPM"}},
	} {
		r.boot(t)
	}
}
