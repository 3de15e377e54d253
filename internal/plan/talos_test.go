package plan_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"latchkey/internal/plan"
)

// TestCheckTalos: each rule of the sources for Talos' volumes.
func TestCheckTalos(t *testing.T) {
	sealed, pin := strings.Repeat("ab", 32), "sha256//"+strings.Repeat("A", 43)+"="
	kms := func(p *plan.Plan) {
		p.Volumes[0].Sources, p.Talos = []string{"talos-kms"}, plan.Talos{KMS: []string{"http://192.0.2.8:4050"}, Sealed: []string{sealed}}
	}
	with := func(change func(p *plan.Plan)) func(p *plan.Plan) {
		return func(p *plan.Plan) {
			kms(p)
			change(p)
		}
	}
	two := func(change func(root, data *plan.Volume)) func(p *plan.Plan) {
		return with(func(p *plan.Plan) {
			p.Volumes = append(p.Volumes, volume(dataUUID, "data"))
			p.Volumes[1].LockedTo = "root"
			change(&p.Volumes[0], &p.Volumes[1])
		})
	}
	for _, row := range []struct {
		name   string
		change func(p *plan.Plan)
		says   string // "" is no error
	}{
		{"a KMS in the clear", kms, ""},
		{"a KMS over TLS", with(func(p *plan.Plan) { p.Talos.KMS, p.Talos.TLS.Pins = []string{"https://kms.local:443"}, []string{pin} }), ""},
		{"a KMS over TLS that nobody knows", with(func(p *plan.Plan) { p.Talos.KMS = []string{"https://kms.local:443"} }), "talos-kms: nothing says how a KMS at https:// is known"},
		{"a pin for nobody", with(func(p *plan.Plan) { p.Talos.TLS.Pins = []string{pin} }), "talos-kms: ca and pin are for https://, and no url is"},
		{"a pin that is none", with(func(p *plan.Plan) { p.Talos.TLS.Pins = []string{"x"} }), "talos-kms: pin:"},
		{"no KMS", with(func(p *plan.Plan) { p.Talos.KMS = nil }), "talos-kms: url is missing"},
		{"a URL that is none", with(func(p *plan.Plan) { p.Talos.KMS = []string{"http://a b"} }), "talos-kms: url \"http://a b\""},
		{"another scheme", with(func(p *plan.Plan) { p.Talos.KMS = []string{"ftp://a"} }), "talos-kms: url \"ftp://a\""},
		{"nine KMS", with(func(p *plan.Plan) { p.Talos.KMS = make([]string, 9) }), "talos-kms: url has 9 entries and sealed 1, the limits are 8 and 32"},
		{"33 secrets", with(func(p *plan.Plan) { p.Talos.Sealed = make([]string, 33) }), "sealed 33"},
		{"a secret that is none", with(func(p *plan.Plan) { p.Talos.Sealed = []string{strings.ToUpper(sealed)} }), "is not 64 hex digits"},
		{"a wait that is negative", with(func(p *plan.Plan) { p.Talos.Wait = -time.Second }), "wait is negative"},
		{"a machine that is none", with(func(p *plan.Plan) { p.Talos.Node = "shop" }), "node is \"shop\""},
		{"a KMS of any secret", with(func(p *plan.Plan) { p.Talos.Sealed = nil }), "volumes[0]: talos-kms needs to know the volume"},
		{"a KMS of any secret of a header that is pinned", with(func(p *plan.Plan) { p.Talos.Sealed, p.Volumes[0].Digest = nil, sealed }), ""},
		{"a TPM of any secret", func(p *plan.Plan) { p.Volumes[0].Sources = []string{"talos-tpm2"} }, "volumes[0]: talos-tpm2 needs to know the volume"},
		{"an identity", func(p *plan.Plan) {
			p.Volumes[0].Sources, p.Volumes[0].Talos, p.Volumes[0].Digest = []string{"talos-node-id"}, "u-data", sealed
		}, ""},
		{"an identity of any volume", func(p *plan.Plan) { p.Volumes[0].Sources, p.Volumes[0].Talos = []string{"talos-node-id"}, "STATE" }, "opens by what is no secret"},
		{"an identity of a volume that Talos has not", func(p *plan.Plan) {
			p.Volumes[0].Sources, p.Volumes[0].Talos, p.Volumes[0].Digest = []string{"talos-node-id"}, "STAET", sealed
		}, `volume is "STAET", want what Talos calls it: STATE, EPHEMERAL or u-NAME`},
		{"an identity of a prefix", func(p *plan.Plan) {
			p.Volumes[0].Sources, p.Volumes[0].Talos, p.Volumes[0].Digest = []string{"talos-node-id"}, "u-", sealed
		}, "want what Talos calls it"},
		{"an identity without a name", func(p *plan.Plan) { p.Volumes[0].Sources, p.Volumes[0].Digest = []string{"talos-node-id"}, sealed }, "want what Talos calls it"},
		{"every link off", with(func(p *plan.Plan) { p.Net, _ = plan.ParseNet([]plan.Arg{{Key: "ip", Value: "off", HasValue: true}}) }), "a volume needs a server"},
		{"locked", two(func(_, _ *plan.Volume) {}), ""},
		{"locked to nothing", two(func(_, data *plan.Volume) { data.LockedTo = "state" }), "volumes[1]: lock-to-state is \"state\", want the name of another volume"},
		{"locked to itself", two(func(_, data *plan.Volume) { data.LockedTo = "data" }), "want the name of another volume"},
		{"locked in a circle", two(func(root, _ *plan.Volume) { root.LockedTo = "data" }), "volumes[0]: lock-to-state: volume data is locked itself"},
		{"locked to what may stay closed", two(func(root, _ *plan.Volume) { root.NoFail = true }), "volumes[1]: lock-to-state: volume root has nofail, and this one has not"},
		{"both may stay closed", with(func(p *plan.Plan) {
			p.Volumes = append(p.Volumes, volume(dataUUID, "data"), volume(strings.Replace(dataUUID, dataUUID[:8], "01234567", 1), "more"))
			p.Volumes[2].LockedTo, p.Volumes[1].NoFail, p.Volumes[2].NoFail = "data", true, true
		}), ""},
	} {
		p := good()
		p.Volumes = p.Volumes[:1]
		row.change(p)
		err := p.Check()
		if (err == nil) != (row.says == "") || err != nil && (!errors.Is(err, plan.ErrInvalid) || !strings.Contains(err.Error(), row.says)) {
			t.Errorf("%s: %v, want %q", row.name, err, row.says)
		}
	}
}

// TestTalosNeeds: what a plan for Talos' volumes needs.
func TestTalosNeeds(t *testing.T) {
	sealed := []string{strings.Repeat("ab", 32)}
	secure := plan.Talos{KMS: []string{"https://kms.local:443"}, Sealed: sealed, TLS: plan.TLS{Pins: []string{"sha256//" + strings.Repeat("A", 43) + "="}}}
	for _, row := range []struct {
		source               string
		talos                plan.Talos
		network, spares, tls bool
		servers              string
	}{
		{"talos-kms", plan.Talos{KMS: []string{"http://192.0.2.8:1"}, Sealed: sealed}, true, true, false, "Talos KMS"},
		{"talos-kms", secure, true, true, true, "Talos KMS"},
		{"talos-tpm2", secure, false, false, false, ""},
	} {
		p := good()
		p.Talos, p.Volumes = row.talos, p.Volumes[:1]
		p.Volumes[0].Sources = []string{row.source}
		if err := p.Check(); err != nil || p.NeedsNetwork() != row.network || p.SparesTPM() != row.spares || p.NeedsTLS() != row.tls || p.Servers() != row.servers {
			t.Errorf("%s: %v, NeedsNetwork = %t, SparesTPM = %t, NeedsTLS = %t, Servers = %q", row.source, err, p.NeedsNetwork(), p.SparesTPM(), p.NeedsTLS(), p.Servers())
		}
	}
}
