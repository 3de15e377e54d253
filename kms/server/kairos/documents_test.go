package kairos

import (
	"strings"
	"testing"
)

const fieldHash = "8ea95820c30b08286a3b40713684c711d66cb87678ffc459f6b356a8dfa95589"

// fieldDocuments are as an operator of Kairos has them.
const fieldDocuments = `---
apiVersion: v1
kind: Secret
metadata:
  name: example-host-tpm-secret
  namespace: default
type: Opaque
stringData:
  pass: "awesome-plaintext-passphrase"
---
apiVersion: keyserver.kairos.io/v1alpha1
kind: SealedVolume
metadata:
  name: example-host
  namespace: default
  labels: {team: edge}
spec:
  TPMHash: "` + fieldHash + `"
  partitions:
    - label: COS_PERSISTENT
      secret:
        name: example-host-tpm-secret
        path: pass
    - deviceName: vda6
    - uuid: 11111111-2222-3333-4444-555555555555
  quarantined: false
  attestation:
    enrolledAt: "2026-01-01T00:00:00Z"
    pcrValues:
      pcrs: {"0": "", "7": "", "11": ""}
`

func TestDocuments(t *testing.T) {
	d, err := ParseDocuments([]byte(fieldDocuments))
	if err != nil {
		t.Fatal(err)
	}
	v := d.Volumes[0]
	if len(d.Secrets) != 1 || string(d.Secrets[0].Data["pass"].Reveal()) != "awesome-plaintext-passphrase" ||
		v.Name != "example-host" || v.Hash.String() != fieldHash || len(v.Partitions) != 3 || len(v.PCRs) != 3 ||
		v.Partitions[0] != (Partition{Label: "COS_PERSISTENT", Secret: "example-host-tpm-secret", Key: "pass"}) {
		t.Errorf("ParseDocuments = %+v", d)
	}
}

func TestDocumentsRefused(t *testing.T) {
	for _, row := range []struct{ name, from, to string }{
		{"misspelled key", "quarantined: false", "quarantine: true"},
		{"key in other case", "quarantined: false", "Quarantined: true"},
		{"key twice", "quarantined: false", "quarantined: false\n  quarantined: true"},
		{"short hash", fieldHash, fieldHash[:63]},
		{"no hash", fieldHash, ""},
		{"PCR that nobody quotes", `"11": ""`, `"12": ""`},
		{"PCR value in capitals", `"11": ""`, `"11": "` + strings.Repeat("AB", 32) + `"`},
		{"partition without names", "deviceName: vda6", "secret: {name: x}"},
		{"label with control characters", "label: COS_PERSISTENT", `label: "a\nb"`},
		{"anchor", "quarantined: false", "quarantined: &a false"},
		{"alias", "quarantined: false\n", "quarantined: *a\n"},
		{"another kind", "kind: SealedVolume", "kind: ConfigMap"},
		{"another version", "v1alpha1", "v1"},
		{"EK of another TPM", `enrolledAt: "2026-01-01T00:00:00Z"`, `ekPublicKey: "` + `-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"`},
		{"Secret without data", `  pass: "awesome-plaintext-passphrase"`, ""},
		{"Secret that is no base64", `stringData:`, `data:`},
		{"passphrase too long", "awesome-plaintext-passphrase", strings.Repeat("x", 513)},
		{"name that is none", "name: example-host\n", "name: ../x\n"},
	} {
		file := strings.Replace(fieldDocuments, row.from, row.to, 1)
		if file == fieldDocuments {
			t.Fatalf("%s: the row changes nothing", row.name)
		}
		if d, err := ParseDocuments([]byte(file)); err == nil {
			t.Errorf("%s: ParseDocuments took it: %+v", row.name, d)
		}
	}
	if _, err := ParseDocuments([]byte("---\n---\n")); err == nil {
		t.Error("ParseDocuments took a file without documents")
	}
	if _, err := ParseDocuments(make([]byte, MaxDocuments+1)); err == nil {
		t.Error("ParseDocuments took more than its limit")
	}
}

func TestDefaultSecret(t *testing.T) {
	for _, row := range []struct{ volume, label, want string }{
		{"machine-a", "COS_PERSISTENT", "machine-a-cos-persistent"},
		{"m", strings.Repeat("x", 61), "m-" + strings.Repeat("x", 61)},
	} {
		if got := DefaultSecret(row.volume, row.label); got != row.want {
			t.Errorf("DefaultSecret(%q, %q) = %q, want %q", row.volume, row.label, got, row.want)
		}
	}
	if got := DefaultSecret("m", strings.Repeat("x", 62)); len(got) != 63 || got[54] != '-' {
		t.Errorf("DefaultSecret of a long label = %q, want 54 characters, - and 8 digits", got)
	}
}
