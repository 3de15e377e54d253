package home

import (
	"errors"
	"strings"
	"testing"

	"latchkey/kms/config"
	"latchkey/kms/ledger"
)

// A server that runs asks no people for their shares: it says where they are
// asked.
func TestRekeyByShares(t *testing.T) {
	k := keepingOf(config.Wrapping{Shares: "2/3"}, t.TempDir())
	if _, err := k.again(t.Context()); !errors.Is(err, ledger.ErrRefused) || !strings.Contains(err.Error(), "stop it, and run: latchkey-kms store rekey") {
		t.Errorf("again = %v, want that people are asked without a server", err)
	}
}
