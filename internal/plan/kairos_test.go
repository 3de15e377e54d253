package plan_test

import (
	"strings"
	"testing"
	"time"

	"latchkey/internal/plan"
)

// TestKairos: what a plan with the source kairos must say, and what it needs
// then.
func TestKairos(t *testing.T) {
	pin := plan.TLS{Pins: []string{"sha256//" + strings.Repeat("A", 43) + "="}}
	for _, row := range []struct {
		name    string
		kairos  plan.Kairos
		digest  bool
		want    string // the error
		network bool
	}{
		{"over TLS", plan.Kairos{Server: "https://kms.local", MDNS: true, Legacy: true, TLS: pin}, false, "", true},
		{"of a pinned volume", plan.Kairos{Server: "http://192.0.2.5:7741"}, true, "", true},
		{"of whoever answers", plan.Kairos{Server: "http://192.0.2.5:7741/challenge", AnyServer: true}, false, "", true},
		{"of the TPM", plan.Kairos{NVIndex: 0x1500000, KeyIndex: 0x81000008}, false, "", false},

		{"of a volume that anybody may exchange", plan.Kairos{Server: "http://192.0.2.5:7741"}, false, "volumes[0]: kairos over http:// takes a passphrase from whoever answers", false},
		{"nothing", plan.Kairos{}, true, "kairos: server is missing: the URL", false},
		{"a mode without a server, and words of one", plan.Kairos{NVIndex: 0x1500000, MDNS: true}, true, "kairos: server is missing, and mdns", false},
		{"no URL", plan.Kairos{Server: "kms.local"}, true, `kairos: server is "kms.local": it must begin with http://`, false},
		{"mDNS for an address", plan.Kairos{Server: "http://192.0.2.5", MDNS: true}, true, "its host must end in .local", false},
		{"TLS that nothing is known of", plan.Kairos{Server: "https://kms.local"}, true, "ca: [FILE] or pin: [sha256//…] says how it is known", false},
		{"a pin for no TLS", plan.Kairos{Server: "http://kms.local", TLS: pin}, true, "ca and pin are of one at https://", false},
		{"a pin that is none", plan.Kairos{Server: "https://kms.local", TLS: plan.TLS{Pins: []string{"x"}}}, true, "kairos: pin:", false},
		{"a handle for an index", plan.Kairos{NVIndex: 0x81000008}, true, "kairos: nv-index is 0x81000008", false},
		{"an index for a handle", plan.Kairos{NVIndex: 0x1500000, KeyIndex: 0x1500000}, true, "kairos: c-index is 0x1500000", false},
		{"a wait that is over", plan.Kairos{Server: "http://kms.local", Wait: -time.Second}, true, "kairos: wait is negative", false},
	} {
		p := good()
		p.Trust.KMS, p.Kairos, p.Volumes = nil, row.kairos, p.Volumes[:1]
		p.Volumes[0].Sources = []string{"kairos"}
		if row.digest {
			p.Volumes[0].Digest = strings.Repeat("ab", 32)
		}
		err := p.Check()
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: Check = %v, want %q", row.name, err, row.want)
		}
		if err == nil && (p.NeedsNetwork() != row.network || !p.NeedsTLS() || p.SparesTPM()) {
			t.Errorf("%s: NeedsNetwork = %t, NeedsTLS = %t, SparesTPM = %t, want %t, true, false", row.name, p.NeedsNetwork(), p.NeedsTLS(), p.SparesTPM(), row.network)
		}
		if p.Volumes[0].Sources = []string{"prompt"}; p.NeedsNetwork() || p.NeedsTLS() {
			t.Errorf("%s: a plan that does not list it needs the network or TLS", row.name)
		}
	}
}

// A label is what a header can have.
func TestLabel(t *testing.T) {
	for label, fits := range map[string]bool{"COS_PERSISTENT": true, strings.Repeat("x", 47): true, strings.Repeat("x", 48): false, "a\nb": false, "ä": false} {
		p := good()
		p.Volumes[0].Label = label
		err := p.Check()
		if refused := err != nil && strings.Contains(err.Error(), "label is"); refused == fits {
			t.Errorf("label %q: Check = %v", label, err)
		}
	}
}
