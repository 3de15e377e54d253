package latch_test

import (
	"testing"

	"latchkey/boot/wire"
	"latchkey/unlock/tpm"
)

// sayHeld checks that PID 1 heard, with the end of the first order, what the
// PCRs hold that the worker will quote.
func sayHeld(t *testing.T, entered wire.Record, dev *tpm.TPM) {
	t.Helper()
	for i, n := range wire.Likely {
		want := held(t, dev, n)
		switch n {
		case 11:
			want = wire.Extended([32]byte{}, order(11, "enter-initrd").Digests.SHA256)
		case 15:
			want = [32]byte{}
		}
		if entered.Kind != wire.KindExtended || entered.Held[i] != want {
			t.Errorf("after enter-initrd PID 1 hears that PCR %d is %x, want %x", n, entered.Held[i], want)
		}
	}
}
