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
		tls             bool
	}{
		{"servers", plan.Clevis{Tang: tang}, true, true, false},
		{"the TPM", plan.Clevis{Sealed: sealed}, false, false, false},
		{"both", plan.Clevis{Tang: tang, Sealed: sealed}, true, true, false},
		{"servers over TLS", plan.Clevis{Tang: tang, TLS: plan.TLS{Pins: []string{"sha256//" + strings.Repeat("A", 43) + "="}}}, true, true, true},
		{"servers over TLS of a CA", plan.Clevis{Tang: tang, TLS: plan.TLS{CA: []string{"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}}}, true, true, true},
	} {
		p := good()
		p.Clevis, p.Volumes = row.clevis, p.Volumes[:1]
		p.Volumes[0].Sources = []string{"clevis"}
		if err := p.Check(); err != nil || p.NeedsNetwork() != row.network || p.SparesTPM() != row.spares || p.NeedsTLS() != row.tls {
			t.Errorf("%s: %v, NeedsNetwork = %t, SparesTPM = %t, NeedsTLS = %t", row.name, err, p.NeedsNetwork(), p.SparesTPM(), p.NeedsTLS())
		}
		if p.Volumes[0].Sources = []string{"kms"}; p.NeedsTLS() {
			t.Errorf("%s: needs TLS, and no volume asks a tang server", row.name)
		}
	}
}
