package boot_test

import (
	"testing"
	"time"

	"latchkey/boot/boottest"
	"latchkey/internal/plan"
)

// Parts of keys, each of which opens nothing alone.
const (
	partKMS   = "the part that the key server has"
	partTPM   = "the part that is in the TPM only"
	partStick = "the part that is on a USB stick."
)

// share has the root open by some ways, and gives it the keyslots for them:
// keyslot 2 is the first.
func share(m *boottest.Machine, ways ...[]string) {
	all := map[string]string{"kms": partKMS, "systemd-tpm2": partTPM, "key-file": partStick}
	for _, way := range ways {
		parts := map[string]string{}
		for _, s := range way {
			parts[s] = all[s]
		}
		m.Disks[0].AddTogether(parts)
	}
	m.Plan.Recipes = []plan.Recipe{{Name: "together", Ways: ways}}
	m.Plan.KeyFiles = []plan.KeyFile{{Name: "key-file", Device: "LABEL=KEYS", Path: "shop.key", Wait: time.Minute}}
	m.KMS.Keys[boottest.RootUUID] = partKMS
}

// kmsAndTPM is what most people want, with a change.
func kmsAndTPM(change func(m *boottest.Machine)) func(m *boottest.Machine) {
	return func(m *boottest.Machine) {
		share(m, []string{"kms", "systemd-tpm2"})
		change(m)
	}
}

// tpmAndStick is without a key server; the secret stands in the plan.
func tpmAndStick(key string, change func(m *boottest.Machine)) func(m *boottest.Machine) {
	return func(m *boottest.Machine) {
		share(m, []string{"systemd-tpm2", "key-file"})
		_, sealed := systemdToken("public")
		m.Plan.Systemd.Sealed, m.Plan.Trust.KMS = []string{sealed}, nil
		if key != "" {
			m.Disks = append(m.Disks, boottest.Stick(key))
		}
		change(m)
	}
}

// TestTogether: the key server and the TPM, or others, open a volume
// together, and none of them opens it alone.
func TestTogether(t *testing.T) {
	only, prompt := []string{"together"}, []string{"together", "prompt"}
	as := func(*boottest.Machine) {}
	differs := func(m *boottest.Machine) { m.TPM.PCRs[7][0] = 1 }
	away := func(m *boottest.Machine) { m.KMS.State = "away" }
	for _, r := range []row{
		{"key server and TPM", only, kmsAndTPM(as), "root", time.Second, []string{"part root systemd-tpm2", "part root kms", "unlock root keyslot=2"}, []string{"keyslot=0", "does not open"}},
		{"the key server is away: the TPM alone does not", prompt, kmsAndTPM(func(m *boottest.Machine) {
			away(m)
			types(m, boottest.Recovery)
		}), "root", 5 * time.Minute, []string{"part root systemd-tpm2", "  10.", "console: latchkey: recovery passphrase:", "unlock root keyslot=1"}, []string{"keyslot=2"}},
		{"the key server comes late", only, kmsAndTPM(func(m *boottest.Machine) {
			away(m)
			time.AfterFunc(time.Minute, func() { m.KMS.Set("") })
		}), "root", 2 * time.Minute, []string{"part root systemd-tpm2", "unlock root keyslot=2"}, nil},
		{"another boot: the key server alone does not", only, kmsAndTPM(differs), "reboot", time.Hour, []string{"tpm-seal-policy", "PCR 7 (sha256) has other values", "what to do: "}, []string{"unlock root keyslot"}},
		{"another boot: the next source", []string{"together", "prompt"}, kmsAndTPM(func(m *boottest.Machine) {
			differs(m)
			types(m, boottest.Recovery)
		}), "root", 2 * time.Minute, []string{"   0.2s console: latchkey: recovery passphrase:", "unlock root keyslot=1"}, []string{"keyslot=2"}},
		{"another secret in the key server", only, kmsAndTPM(func(m *boottest.Machine) {
			m.KMS.Keys[boottest.RootUUID] = "the part of another volume, say."
		}), "reboot", time.Hour, []string{"together-wrong", "all parts of its key are there, and one is not what the keyslot was enrolled with"}, []string{"unlock root keyslot"}},
		{"the key server has what opens keyslot 0 alone", only, kmsAndTPM(func(m *boottest.Machine) {
			m.KMS.Keys[boottest.RootUUID] = boottest.Key
		}), "reboot", time.Hour, []string{"together-wrong"}, []string{"unlock root keyslot"}},
		{"the key server refuses the volume", only, kmsAndTPM(func(m *boottest.Machine) { m.KMS.State = "refuses" }), "reboot", time.Hour, []string{"refused"}, []string{"unlock root keyslot"}},
		{"no token: nothing was enrolled", only, func(m *boottest.Machine) {
			m.Plan.Recipes = []plan.Recipe{{Name: "together", Ways: [][]string{{"kms", "systemd-tpm2"}}}}
			m.KMS.Keys[boottest.RootUUID] = partKMS
		}, "reboot", time.Hour, []string{"together-token: volume root: no token of type latchkey-together goes with what the plan allows: there is none"}, []string{"unlock root keyslot", "log: kms"}},
		{"a token of other sources than the plan's", only, func(m *boottest.Machine) {
			share(m, []string{"kms", "key-file"})
			m.Plan.Recipes[0].Ways = [][]string{{"kms", "systemd-tpm2"}}
		}, "reboot", time.Hour, []string{"together-token", "token 0: the plan does not allow key-file and kms together"}, []string{"unlock root keyslot"}},
		{"a next secret: it is no part yet", only, kmsAndTPM(func(m *boottest.Machine) {
			m.KMS.Staged = map[string]string{boottest.RootUUID: "the next secret of the key server"}
		}), "root", time.Second, []string{"unlock root keyslot=2", "is not rotated"}, []string{"log: rotate"}},

		{"TPM and stick", only, tpmAndStick(partStick, as), "root", 2 * time.Second, []string{"part root key-file", "unlock root keyslot=2"}, nil},
		{"a wrong stick, then the right one", only, tpmAndStick("a stick of somebody else, with 32", func(m *boottest.Machine) {
			right := boottest.Stick(partStick)
			right.Name = "sdb"
			time.AfterFunc(10*time.Second, func() { m.Plug(right) })
		}), "root", 15 * time.Second, []string{"all parts of its key are there, and one is not what the keyslot was enrolled with", "  10.2s log: unlock root keyslot=2"}, nil},
		{"no stick", only, tpmAndStick("", as), "reboot", 5 * time.Minute, []string{"key-file-missing"}, []string{"unlock root keyslot"}},
		{"a secret of the TPM that the plan does not name", only, tpmAndStick(partStick, func(m *boottest.Machine) {
			m.Plan.Systemd.Sealed = []string{zeros}
		}), "reboot", 5 * time.Minute, []string{"systemd-token", "the plan does not allow its sealed secret"}, []string{"unlock root keyslot"}},
	} {
		r.boot(t)
	}
}

// TestTogetherJudged: parts are asked for only for the volume that is meant,
// and tokens of others are none.
func TestTogetherJudged(t *testing.T) {
	only, other := []string{"together"}, zeros
	token, _ := systemdToken("somebody's")
	for _, r := range []row{
		{"another header: nothing is unsealed", only, kmsAndTPM(func(m *boottest.Machine) { m.Plan.Volumes[0].Digest = other }), "reboot", time.Hour, []string{"code=volume-locked"}, []string{"part root systemd-tpm2 0ms", "part root kms 0ms"}},
		{"another volume key than the key server knows", only, kmsAndTPM(func(m *boottest.Machine) {
			m.KMS.MACs = map[string][]byte{boottest.RootUUID: make([]byte, 32)}
		}), "reboot", time.Hour, []string{"volume-locked", "its volume key is not the enrolled one"}, []string{"unlock root keyslot"}},
		{"a token of systemd-cryptenroll beside ours", only, kmsAndTPM(func(m *boottest.Machine) {
			m.Disks[0].AddToken(token)
			m.KMS.State = "away"
			time.AfterFunc(10*time.Second, func() { m.KMS.Set("") })
		}), "root", time.Minute, []string{"unlock root keyslot=2"}, []string{"does not allow"}},
	} {
		r.boot(t)
	}
}

const zeros = "0000000000000000000000000000000000000000000000000000000000000000"

// TestTogetherThreshold: any two of three.
func TestTogetherThreshold(t *testing.T) {
	two := func(change func(m *boottest.Machine)) func(m *boottest.Machine) {
		return func(m *boottest.Machine) {
			share(m, []string{"kms", "systemd-tpm2"}, []string{"kms", "key-file"}, []string{"systemd-tpm2", "key-file"})
			_, sealed := systemdToken("public")
			m.Plan.Systemd.Sealed = []string{sealed}
			change(m)
		}
	}
	stick := func(m *boottest.Machine) { m.Disks = append(m.Disks, boottest.Stick(partStick)) }
	for _, r := range []row{
		{"no stick", []string{"together"}, two(func(*boottest.Machine) {}), "root", time.Second, []string{"unlock root keyslot=2"}, nil},
		{"another boot", []string{"together"}, two(func(m *boottest.Machine) {
			stick(m)
			m.TPM.PCRs[7][0] = 1
		}), "root", time.Second, []string{"unlock root keyslot=3"}, nil},
		{"no key server", []string{"together"}, two(func(m *boottest.Machine) {
			stick(m)
			m.KMS.State = "away"
		}), "root", time.Second, []string{"unlock root keyslot=4"}, nil},
		{"neither stick nor key server", []string{"together"}, two(func(m *boottest.Machine) {
			m.KMS.State = "refuses"
		}), "reboot", time.Hour, []string{"refused"}, []string{"unlock root keyslot"}},
	} {
		r.boot(t)
	}
}
