package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"latchkey/boot/boottest"
	"latchkey/internal/secret"
	"latchkey/unlock"
)

// What was fetched when the early boot was over already is given to nobody, not
// even to one who has waited for it; and nothing is held after that.
func TestSettleAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := boottest.New("kms")
		defer m.End()
		a, err := New(m.Agent())
		if err != nil {
			t.Fatal(err)
		}
		root := &unlock.Volume{Name: "root", Device: "/dev/vda"}
		a.keys.hold(root, secret.Own([]byte("a key")))
		over, cancel := context.WithCancel(t.Context())
		cancel()
		a.settle(over, nil)
		a.keys.hold(root, secret.Own([]byte("a late key")))
		if key, _, err := a.keys.take(t.Context(), "root"); !errors.Is(err, errOver) {
			t.Errorf("take = %q, %v, want %v", key.Reveal(), err, errOver)
		}
	})
}
