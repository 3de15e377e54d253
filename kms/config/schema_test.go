package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"latchkey/internal/docexample"
	"latchkey/internal/strictyaml"
	"latchkey/internal/strictyaml/schematest"
)

// taken is why the server does not take a file.
func taken(t *testing.T, file string) error {
	t.Helper()
	_, err := configured(t, file)
	return err
}

// TestSchema: editors accept what the server takes, and mark what is
// misspelled or of the wrong kind, as it does.
func TestSchema(t *testing.T) {
	judge := schematest.Compile(t, strictyaml.Schema("kms.yaml", Config{}, nil))
	for _, b := range docexample.Blocks(t, "yaml kms.yaml") {
		if err := judge(b.Text); err != nil {
			t.Errorf("%s: %v", b, err)
		}
	}

	for _, good := range []string{
		"listen: []", "listen: {address: \":1\", protocols: lk1}", "listen:\n  - address: \":1\"\n    connections: {in-all: 5}", "data: 5",
		"policy: {defaults: {silence: 90d, per-boot: 3, networks: 192.0.2.0/24}}", "listen: {address: \":1\", trusted-proxies: [192.0.2.1]}",
		"policy: {releases: [{name: x, content: {secure-boot: true}}]}", "k8s: {socket: /run/x}",
	} {
		if good == "listen: []" {
			good += "\ntalos: {address: \":1\"}"
		}
		if judge(good) != nil || taken(t, good) != nil {
			t.Errorf("%s: schema %v, server %v", good, judge(good), taken(t, good))
		}
	}
	for _, bad := range []string{
		"dta: /x", "data: [a, b]", "listen: 7741", "log: 5", "enroll: maybe", "listen: {address: \":1\", connections: {in-all: many}}",
		"talos: {bind-address: 1}", "hooks: {program: /bin/true, timeout: 5}", "policy: {defaults: {silence: [90]}}", "policy: {settings: {}}",
	} {
		if judge(bad) == nil || taken(t, bad) == nil {
			t.Errorf("%s: schema %v, server %v; want two errors", bad, judge(bad), taken(t, bad))
		}
	}
}

// TestSchemaWords: the words that editors offer for a field are those that
// the server takes.
func TestSchemaWords(t *testing.T) {
	settings := func(key string) string {
		return "policy: {defaults: {" + key + ": %[1]s}, groups: {label: a=b, settings: {" + key + ": %[1]s}}}"
	}
	certificate, key := pair(t)
	roots := t.TempDir()
	text, err := os.ReadFile(certificate)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(roots, "root.pem"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		".enroll":                       "enroll: %s\nek: {roots: " + roots + "}",
		".talos.enroll":                 "talos: {address: \":1\", enroll: %s}",
		".admin.clients.scope":          "admin: {address: \":1\", tls: {certificate: " + certificate + ", key: " + key + "}, client-ca: " + certificate + ", clients: {name: x, scope: %s}}",
		".hooks.approve":                "admin: {address: \":1\", tls: {certificate: " + certificate + ", key: " + key + "}, page: {url: \"https://x\"}}\nhooks: {program: [/bin/true], approve: %s}",
		".admin.page.oidc.groups.scope": "admin: {address: \":1\", tls: {certificate: " + certificate + ", key: " + key + "}, page: {oidc: {issuer: \"https://x\", url: \"https://y\", client-id: z, client-secret-file: " + key + ", groups: {name: x, scope: %s}}}}",
		".log.level":                    "log: {level: %s}",
		".log.format":                   "log: {format: %s}",
		".store.write-back":             "store: {at: \"kube:ns\", write-back: %s}",
		".listen.protocols":             "listen: {address: \":1\", protocols: [%s]}",
		".policy.defaults.outside":      settings("outside"),
		".policy.defaults.moved":        settings("moved"),
		".policy.defaults.role":         settings("role"),
		".policy.defaults.announce":     settings("announce"),
		".policy.defaults.unmeasured":   settings("unmeasured"),
	}
	for field, list := range schematest.Words(strictyaml.Schema("kms.yaml", Config{}, nil)) {
		file, ok := files[strings.Replace(field, ".groups.settings.", ".defaults.", 1)]
		for _, word := range append(slices.Clone(list), "zzz") {
			if !ok {
				break
			}
			if err := taken(t, fmt.Sprintf(file, word)); (err == nil) != (word != "zzz") {
				t.Errorf("%s: %s: the server says %v", field, word, err)
			}
		}
		if !ok {
			t.Errorf("%s takes one of %q: give it a row", field, list)
		}
	}
}
