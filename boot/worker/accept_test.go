package worker_test

import (
	"strings"
	"testing"

	"latchkey/boot/boottest"
	"latchkey/boot/wire"
	"latchkey/internal/plan"
)

// A cipher that the plan does not accept is refused, with what to write; one
// that it accepts opens, and its header is changed as any other.
func TestAcceptedCipher(t *testing.T) {
	for _, row := range []struct{ name, accept, code, says string }{
		{"as it is", "", "header-rejected", "accept: cryptsetup"},
		{"accepted", plan.AcceptCryptsetup, "", ""},
	} {
		run(t, row.name, func() *boottest.Machine {
			m := boottest.New("kms")
			m.Disks[0].SetCipher("serpent-xts-plain64")
			m.Plan.Volumes[0].Accept = row.accept
			m.KMS.Staged = map[string]string{boottest.RootUUID: next}
			return m
		}, func(t *testing.T, m *boottest.Machine, said []wire.Record) {
			if got := boottest.Failure(said); got != row.code {
				t.Errorf("failed with %q, want %q:\n%s", got, row.code, story(said))
			}
			if text := failureText(said); !strings.Contains(text, row.says) {
				t.Errorf("says %q, want %q in it", text, row.says)
			}
			if rotated := m.Disks[0].Opens(next) >= 0 && m.Disks[0].Opens(boottest.Key) < 0; rotated != (row.code == "") {
				t.Errorf("the next key alone opens: %t", rotated)
			}
		})
	}
}

// failureText is what the failure says, "" if there was none.
func failureText(said []wire.Record) (text string) {
	for _, r := range said {
		if r.Kind == wire.KindFailed {
			text = r.Text
		}
	}
	return text
}
