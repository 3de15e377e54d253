package plan_test

import (
	"strings"
	"testing"

	"latchkey/internal/plan"
)

// TestClevisNeeds: what a plan with tokens of clevis needs depends on what
// they may be bound to.
func TestClevisNeeds(t *testing.T) {
	tang, sealed := []string{strings.Repeat("A", 43)}, []string{strings.Repeat("0a", 32)}
	for _, row := range []struct {
		name            string
		clevis          plan.Clevis
		network, spares bool
	}{
		{"servers", plan.Clevis{Tang: tang}, true, true},
		{"the TPM", plan.Clevis{Sealed: sealed}, false, false},
		{"both", plan.Clevis{Tang: tang, Sealed: sealed}, true, true},
	} {
		p := good()
		p.Clevis, p.Volumes = row.clevis, p.Volumes[:1]
		p.Volumes[0].Sources = []string{"clevis"}
		if err := p.Check(); err != nil || p.NeedsNetwork() != row.network || p.SparesTPM() != row.spares {
			t.Errorf("%s: %v, NeedsNetwork = %t, SparesTPM = %t", row.name, err, p.NeedsNetwork(), p.SparesTPM())
		}
	}
}
