package boot_test

import (
	"testing"
	"time"

	"latchkey/boot/boottest"
	"latchkey/internal/plan"
)

// stick has a machine's plan name a file on a stick, for a minute.
func stick(m *boottest.Machine) {
	m.Plan.KeyFiles = []plan.KeyFile{{Name: "key-file", Device: "LABEL=KEYS", Path: "shop.key", Wait: time.Minute}}
}

// plugged is stick, and the stick is plugged in after a while.
func plugged(after time.Duration, key string) func(*boottest.Machine) {
	return func(m *boottest.Machine) {
		stick(m)
		time.AfterFunc(after, func() { m.Plug(boottest.Stick(key)) })
	}
}

// TestKeyFile: sources in their order, with a stick that is there, comes, or
// is another one.
func TestKeyFile(t *testing.T) {
	for _, r := range []row{
		{"the stick alone", []string{"key-file"}, plugged(10*time.Second, boottest.Recovery), "root", 12 * time.Second, []string{"unlock root keyslot=1"}, nil},
		{"no stick", []string{"key-file"}, stick, "reboot", 3 * time.Minute, []string{"key-file-missing: the key file shop.key on LABEL=KEYS: no such device is there", "what to do: "}, nil},
		{"another stick", []string{"key-file"}, plugged(0, "another key"), "reboot", 3 * time.Minute, []string{"key-file-wrong: the key file shop.key on LABEL=KEYS: opening root"}, nil},
		{"no stick, then the key server: it has the stick's head start to wait", []string{"key-file", "kms"}, stick, "root", 4 * time.Second, []string{"   3.0s log: kms 192.0.2.1"}, nil},
		{"the key server is quick: nobody reads a stick", []string{"kms", "key-file"}, plugged(0, boottest.Recovery), "root", time.Second, nil, []string{"keyslot=1"}},
		{"the key server is silent: three seconds", []string{"kms", "key-file"}, func(m *boottest.Machine) {
			plugged(0, boottest.Recovery)(m)
			m.KMS.State = "away"
		}, "root", 3500 * time.Millisecond, []string{"unlock root keyslot=1"}, nil},
		{"the key server refuses for good: at once", []string{"kms", "key-file"}, func(m *boottest.Machine) {
			plugged(0, boottest.Recovery)(m)
			m.KMS.Keys[boottest.RootUUID] = "another key of thirty-two bytes!"
		}, "root", time.Second, []string{"wrong-key", "unlock root keyslot=1"}, nil},
		{"a head start of the plan's own", []string{"kms", "key-file"}, func(m *boottest.Machine) {
			plugged(0, boottest.Recovery)(m)
			m.KMS.State, m.Plan.HeadStart = "away", 20*time.Second
		}, "root", 21 * time.Second, []string{"  20.", "unlock root keyslot=1"}, nil},
		{"neither: the question comes when it always does", []string{"kms", "key-file", "prompt"}, func(m *boottest.Machine) {
			stick(m)
			m.KMS.State = "away"
			types(m, boottest.Recovery)
		}, "root", 5 * time.Minute, []string{"  13.0s console: latchkey: recovery passphrase:"}, nil},
		{"no TPM: the stick is for just that", []string{"kms", "key-file"}, func(m *boottest.Machine) {
			plugged(10*time.Second, boottest.Recovery)(m)
			m.TPM.State = "missing"
		}, "root", 2 * time.Minute, []string{"the TPM is not used in this boot: tpm-missing", "unlock root keyslot=1"}, nil},
		{"in the image", []string{"key-file"}, func(m *boottest.Machine) {
			m.Plan.KeyFiles = []plan.KeyFile{{Name: "key-file", Path: "/etc/root.key"}}
			m.Keys = map[string]string{"/keys/key-file": boottest.Recovery}
		}, "root", time.Second, []string{"unlock root keyslot=1"}, nil},
		{"a stick for the root, the key server for the rest: each as soon as its key is there", []string{"key-file"}, func(m *boottest.Machine) {
			plugged(30*time.Second, boottest.Recovery)(m)
			addData(m, false, "kms")
		}, "root", time.Minute, []string{"   0.2s log: unlock data keyslot=0", "unlock root keyslot=1"}, nil},
	} {
		r.boot(t)
	}
}

// TestNoFailSources: a volume with nofail is opened by a source that takes
// longer than that of the root, and holds up the boot for seconds at most.
func TestNoFailSources(t *testing.T) {
	inImage := func(sources ...string) func(*boottest.Machine) {
		return func(m *boottest.Machine) {
			m.Plan.KeyFiles = []plan.KeyFile{{Name: "key-file", Path: "/etc/root.key"}}
			m.Keys = map[string]string{"/keys/key-file": boottest.Recovery}
			addData(m, true, sources...)
		}
	}
	slow := func(state string) func(*boottest.Machine) {
		return func(m *boottest.Machine) {
			inImage("kms")(m)
			m.KMS.State = state
		}
	}
	for _, r := range []row{
		{"by the key server", []string{"key-file"}, inImage("kms"), "root", 2 * time.Second, []string{"unlock root keyslot=1", "unlock data keyslot=0"}, []string{"stays closed"}},
		{"by a key server that is away", []string{"key-file"}, slow("away"), "root", 11 * time.Second, []string{"unlock root keyslot=1", "volume data stays closed: left-closed"}, nil},
		{"by a key server where nobody has approved the machine", []string{"key-file"}, slow("pending"), "root", 11 * time.Second, []string{"unlock root keyslot=1", "volume data stays closed"}, nil},
		{"by people, who are not waited for", []string{"key-file"}, inImage("prompt"), "root", time.Second, []string{"unlock root keyslot=1", "volume data stays closed"}, nil},
	} {
		r.boot(t)
	}
}
