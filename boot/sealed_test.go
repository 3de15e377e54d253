package boot_test

import (
	"testing"
	"time"

	"latchkey/boot/boottest"
)

// TestSealedKeyServer: a key server whose wrapping key is away says that it
// is busy, and a boot waits for it however long that takes.
func TestSealedKeyServer(t *testing.T) {
	r := row{name: "for 40 minutes", change: func(m *boottest.Machine) {
		m.KMS.State, m.Plan.Find.Timeout = "sealed", 0
		time.AfterFunc(40*time.Minute, func() { m.KMS.Set("") })
	}, end: "root", most: 41 * time.Minute, log: []string{"unlock root keyslot"}, never: []string{"refused", "kms-timeout"}}
	r.sources = onlyKMS
	r.boot(t)
}
