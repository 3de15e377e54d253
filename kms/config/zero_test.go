package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is written down as nothing is not taken for what is left out.
func TestZerosThatMeanNothing(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"admin:\n  page:\n    session: 0s", "kms.yaml:3: admin.page.session: 0s: must be between a minute and 24h0m0s"},
		{"admin:\n  page:\n    oidc: {}", "kms.yaml:3: admin.page.oidc: it names no issuer, so nobody signs in by it: name the provider's URL, or leave the section out"},
		{"listen:\n  - address: \":1\"\n    connections: {in-all: 0}", "kms.yaml:3: listen[0].connections.in-all: 0 is not between 1 and 65536"},
		{"talos:\n  address: \":1\"\n  connections:\n    per-network: 0", "kms.yaml:4: talos.connections.per-network: 0 is not between 1 and 65536"},
		{"listen:\n  - address: \":1\"\n    connections: {in-all: 7}", ""},
	} {
		path := filepath.Join(t.TempDir(), "kms.yaml")
		if err := os.WriteFile(path, []byte(row.text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Read(path)
		if err != nil {
			t.Fatal(err)
		}
		err = c.check()
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.HasSuffix(err.Error(), row.want)) {
			t.Errorf("%q: %v, want %q", row.text, err, row.want)
		}
	}
}

// The address of the pages is one, at the top of a host, over HTTPS.
func TestPageAddress(t *testing.T) {
	for _, row := range []struct {
		page AdminPage
		want string // or a part of the error
	}{
		{AdminPage{}, ""},
		{AdminPage{URL: "https://kms.example.org:7743/"}, "https://kms.example.org:7743"},
		{AdminPage{URL: "http://kms.example.org"}, `url: "http://kms.example.org" must be as in https://host.example.org`},
		{AdminPage{URL: "https://kms.example.org/latchkey"}, "the page is at the top of its host"},
		{AdminPage{URL: "https://kms.example.org?a=b"}, "must be as in https://host.example.org"},
		{AdminPage{Off: true, URL: "https://kms.example.org"}, "the page is off"},
	} {
		err := row.page.check()
		if err != nil && !strings.Contains(err.Error(), row.want) || err == nil && row.page.Address() != row.want || row.want == "" && err != nil {
			t.Errorf("%+v: %q, %v; want %q", row.page, row.page.Address(), err, row.want)
		}
	}
}
