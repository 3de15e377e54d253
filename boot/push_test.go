package boot_test

import (
	"testing"
	"time"

	"latchkey/boot/boottest"
)

// TestPush: a passphrase that a person pushes from far away to a machine that
// waits opens what lists the source, and nothing else.
func TestPush(t *testing.T) {
	pushes := func(key string) func(*boottest.Machine) {
		return func(m *boottest.Machine) {
			m.KMS.State = "pending"
			time.AfterFunc(40*time.Second, func() { m.KMS.Push(boottest.RootUUID, key) })
		}
	}
	for _, r := range []row{
		{"it is listed", []string{"kms", "push"}, pushes(boottest.Recovery), "root", 90 * time.Second, []string{"pending", "unlock root keyslot=1"}, nil},
		{"it is not", onlyKMS, pushes(boottest.Recovery), "reboot", time.Hour, []string{"push-unlisted: ", "kms-timeout"}, []string{"unlock root"}},
		{"it opens nothing", []string{"kms", "push"}, pushes("not the recovery key"), "reboot", time.Hour, []string{"unlock root code=wrong-key", "start worker 1", "kms-timeout"}, []string{"unlock root keyslot", "start worker 2"}},
		{"nobody pushes", []string{"kms", "push"}, func(m *boottest.Machine) { m.KMS.State = "pending" }, "reboot", time.Hour, []string{"pending", "kms-timeout"}, nil},
		{"nobody need: the key server gives", []string{"kms", "push"}, nil, "root", time.Second, []string{"unlock root keyslot=0"}, nil},
	} {
		r.boot(t)
	}
}
