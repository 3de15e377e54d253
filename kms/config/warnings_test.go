package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A network of all addresses is no list of proxies: it is said where it
// stands, at a listener and at Talos'. So are keys that pass in the clear.
// Nothing else is said.
func TestWarnings(t *testing.T) {
	const says = ": anybody is believed about the address that he asks from, and networks, limits and the audit log go by it; name the addresses of your proxies"
	for _, row := range []struct {
		name, text string
		want       []string
	}{
		{"no proxies", "listen: {address: \":1\"}\n", nil},
		{"proxies", "listen:\n  - address: :1\n    trusted-proxies: [192.0.2.0/24, 10.0.0.0/8]\n", nil},
		{"everybody", "listen:\n  - address: :1\n  - address: :2\n    trusted-proxies:\n      - 192.0.2.1\n      - 0.0.0.0/0\n", []string{
			"kms.yaml:6: listen[1].trusted-proxies[1]: 0.0.0.0/0" + says,
		}},
		{"everybody, in both families", "listen: {address: \":1\", trusted-proxies: [0.0.0.0/0, \"::/0\"]}\n", []string{
			"kms.yaml:1: listen[0].trusted-proxies[0]: 0.0.0.0/0" + says, "kms.yaml:1: listen[0].trusted-proxies[1]: ::/0" + says,
		}},
		{"everybody, at Talos", "talos:\n  address: :1\n  proxy-protocol: true\n  trusted-proxies: ::/0\n", []string{
			"kms.yaml:4: talos.trusted-proxies[0]: ::/0" + says,
		}},
		{"Talos in the clear", "talos:\n  address: :1\n", []string{
			"kms.yaml:2: talos.address: :1 is in the clear: whoever hears it reads the keys that Talos asks to seal and unseal; set talos.tls, and https:// in the machines' configuration",
		}},
		{"Talos here alone", "talos: {address: \"[::1]:1\"}\n", nil},
	} {
		c, err := configured(t, row.text)
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		if diff := cmp.Diff(row.want, c.Warnings()); diff != "" {
			t.Errorf("%s: warnings (-want +got):\n%s", row.name, diff)
		}
	}
}

// A hook whose links nobody is known to have is named where several people must
// approve a machine of it.
func TestWarningsOfLinks(t *testing.T) {
	certificate, key := pair(t)
	page := "admin: {address: \":1\", tls: {certificate: " + certificate + ", key: " + key + "}, page: {url: \"https://kms.example.org\"}}\n"
	const says = " wants several people: say whose word they are (person)"
	const of = "kms.yaml:3: hooks[0].approve: links of a hook without person approve no machine for which "
	for name, row := range map[string]struct{ hook, policy, want string }{
		"one is enough":            {"", "{}", ""},
		"all machines":             {"", "{defaults: {approvals: 2}}", of + "policy.defaults" + says},
		"the hook's group":         {", labels: [site=oslo]", "{groups: [{label: site=oslo, settings: {approvals: 2}}]}", of + "the group site=oslo" + says},
		"a group, of all machines": {"", "{groups: [{label: site=oslo, settings: {approvals: 3}}]}", of + "the group site=oslo" + says},
		"a group of another label": {", labels: [site=oslo]", "{groups: [{label: rack=1, settings: {approvals: 2}}]}", of + "the group rack=1" + says},
		"another group":            {", labels: [site=oslo]", "{groups: [{label: site=cairns, settings: {approvals: 2}}]}", ""},
		"a protocol without links": {"", "{groups: [{label: protocol=talos, settings: {approvals: 2}}]}", ""},
		"the protocol with links":  {"", "{groups: [{label: protocol=lk1, settings: {approvals: 2}}]}", of + "the group protocol=lk1" + says},
		"somebody who is known":    {", person: ann", "{defaults: {approvals: 2}}", ""},
	} {
		c, err := configured(t, page+"hooks:\n  - {program: [/bin/true], approve: words"+row.hook+"}\npolicy: "+row.policy+"\n")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var want []string
		if row.want != "" {
			want = []string{row.want}
		}
		if diff := cmp.Diff(want, c.Warnings()); diff != "" {
			t.Errorf("%s: warnings (-want +got):\n%s", name, diff)
		}
	}
}
