package server_test

import (
	"encoding/base64"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"latchkey/kms"
	"latchkey/kms/server/kairos/kairostest"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/talos"
)

// tellKairosTerms has a node under settings of its own, which refuse it.
func tellKairosTerms(t *testing.T, f *fixture, soft *kairostest.Soft, n *kairostest.Node) {
	t.Helper()
	for _, s := range []policy.Settings{{PerHour: ptr(1)}, {PerHour: ptr(1)}} {
		if _, err := f.Kairos.Set(ctx, soft.Hash(), policy.Change{Labels: map[string]string{"site": "lab"}, Settings: s}); err != nil {
			t.Fatal(err)
		}
		_, _ = n.Attest()
	}
	refused(t, n, "")
	if _, err := f.Kairos.Set(ctx, soft.Hash(), policy.Change{Settings: policy.Settings{PerHour: ptr(100)}}); err != nil {
		t.Fatal(err)
	}
}

// tellTalosTerms does the same with a machine of Talos, and seals.
func tellTalosTerms(t *testing.T, l *talosLab, uuid kms.UUID) {
	t.Helper()
	if _, err := l.Talos.Set(ctx, uuid, policy.Change{Labels: map[string]string{"site": "lab"}, Settings: policy.Settings{PerHour: ptr(1)}}); err != nil {
		t.Fatal(err)
	}
	m := l.machine()
	blob := l.seal(m, box)
	if len(blob) != talos.BlobSize {
		t.Fatalf("a blob of %d bytes", len(blob))
	}
	l.wantKey(m, box, blob)
	_, err := unseal(m, box, blob)
	l.wantRefusal("a limit", err)
}

// askTerms asks what holds for machines of Kairos and Talos.
func askTerms(d *document31, h http.Handler, ask func(method, target, body string, want int)) {
	d.t.Helper()
	hash, uuid := "?hash="+d.kairosHash(h, "approved"), "?uuid="+box
	for path, machine := range map[string]string{"/v1/kairos/": hash, "/v1/talos/": uuid} {
		ask("POST", path+"set"+machine, `{"labels":{"site":"lab"},"clear":["per-hour"]}`, 200)
		ask("POST", path+"set"+machine, `{"settings":{"per_boot":1}}`, 400)
		ask("GET", path+"explain"+machine+"&at=2026-11-22T22:30:00Z", "", 200)
		ask("GET", path+"explain"+machine+"&operation=x", "", 400)
		ask("GET", path+"explain"+machine+"&from=x", "", 400)
		ask("POST", path+"renew"+machine, "", 200)
		ask("POST", path+"nodes/renew", "", 200)
	}
	text := `"text":"policy: {releases: [{name: r, signed: {public-key: k.pem, signatures: s.json}}]}\n","files":{"k.pem":"` + testFile64(d.t, "tpm2-pcr-public-key.pem") + `","s.json":"` + testFile64(d.t, "tpm2-pcr-signature.json") + `"}`
	ask("GET", "/v1/policy", "", 200)
	ask("POST", "/v1/policy/apply", `{"base":0,`+text+`}`, 200)
	ask("POST", "/v1/policy/apply", `{"base":1,`+text+`}`, 200)
	ask("POST", "/v1/policy/apply", `{"base":9,"text":"policy: {}"}`, 409)
	ask("POST", "/v1/policy/revert?number=0", "", 200)
	ask("POST", "/v1/policy/revert", "", 400)
	ask("POST", "/v1/policy/revert?number=1", "", 200)
	ask("POST", "/v1/policy/revert?number=77", "", 404)
	ask("GET", "/v1/policy?number=1", "", 200)
	ask("GET", "/v1/policy?number=x", "", 400)
	ask("GET", "/v1/policy/editions", "", 200)
	ask("POST", "/v1/policy/revert?number=0", "", 200)
	ask("GET", "/v1/kairos/explain?hash="+kms.NodeID{1}.String(), "", 404)
	ask("GET", "/v1/talos/explain?uuid="+other, "", 404)
}

// testFile64 is a file of the policy's tests.
func testFile64(t testing.TB, name string) string {
	t.Helper()
	file, err := os.ReadFile(filepath.Join("policy", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(file)
}
