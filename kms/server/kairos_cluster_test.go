package server_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"latchkey/kms/ledger"
	kairoskeeper "latchkey/kms/server/kairos/keeper"

	"latchkey/kms/server/kairos"
	"latchkey/kms/server/kairos/kairostest"
)

// sync takes documents as all that a cluster has.
func (f *fixture) sync(tpm *kairostest.Soft, documents string) ([]kairoskeeper.Applied, error) {
	f.t.Helper()
	d := &kairos.Documents{}
	if documents != "" {
		var err error
		if d, err = kairos.ParseDocuments([]byte(strings.ReplaceAll(documents, "HASH", tpm.Hash()))); err != nil {
			f.t.Fatal(err)
		}
	}
	return f.Kairos.Sync(ctx, d)
}

func (f *fixture) mustSync(tpm *kairostest.Soft, documents string, changes int) {
	f.t.Helper()
	done, err := f.sync(tpm, documents)
	if err != nil || len(done) != changes {
		f.t.Fatalf("SyncKairos = %v, %v, want %d changes", done, err, changes)
	}
}

const clusterSecret = `---
apiVersion: v1
kind: Secret
metadata: {name: machine-a-cos-persistent}
stringData: {passphrase: PASSPHRASE}
`

func withSecret(passphrase string) string {
	return document + strings.ReplaceAll(clusterSecret, "PASSPHRASE", passphrase)
}

// What a cluster says is followed, as it changes; nothing is written when it
// has not changed.
func TestKairosFollowsCluster(t *testing.T) {
	f, tpm := newKMS(t, speaksKairos), newSoft(t)
	n := f.kairosNode(tpm)
	f.mustSync(tpm, withSecret("from the cluster"), 2)
	if got := must(t, n); got != "from the cluster" {
		t.Errorf("Attest = %q, want the cluster's passphrase", got)
	}

	before := f.events("kairos sync")
	for range 3 {
		f.mustSync(tpm, withSecret("from the cluster"), 0)
	}
	if after := f.events("kairos sync"); after != before {
		t.Errorf("%d events for nothing", after-before)
	}

	f.mustSync(tpm, withSecret("another one"), 1)
	if got := must(t, n); got != "another one" {
		t.Errorf("Attest = %q, want the passphrase that was replaced", got)
	}
	f.mustSync(tpm, strings.Replace(withSecret("another one"), "spec:", "spec:\n  quarantined: true", 1), 1)
	refused(t, n, "TPM is quarantined")
	f.mustSync(tpm, withSecret("another one"), 1)
	must(t, n)
}

// A SealedVolume that is gone counts as quarantined, until it is back; one
// that a file brought is nobody's to end but the operator's.
func TestKairosClusterDocumentGone(t *testing.T) {
	f, tpm := newKMS(t, speaksKairos), newSoft(t)
	n := f.kairosNode(tpm)
	f.mustSync(tpm, document, 1)
	first := must(t, n) // generated
	f.mustSync(tpm, "", 1)
	refused(t, n, "TPM is quarantined")
	f.mustSync(tpm, "", 0)
	f.mustSync(tpm, document, 1)
	if again := must(t, n); again != first {
		t.Error("the passphrase is another one when the document is back")
	}

	other := newSoft(t)
	if err := f.apply(other, strings.ReplaceAll(document, "machine-a", "by-hand")); err != nil {
		t.Fatal(err)
	}

	f.mustSync(tpm, document, 0)
	must(t, f.kairosNode(other))
}

// Two documents about one TPM do not push each other about.
func TestKairosClusterTwoDocuments(t *testing.T) {
	f, tpm := newKMS(t, speaksKairos), newSoft(t)
	both := document + "---\n" + strings.ReplaceAll(strings.ReplaceAll(document, "machine-a", "machine-b"), "COS_PERSISTENT", "DATA")
	f.mustSync(tpm, both, 2)
	f.mustSync(tpm, both, 0)
	first := must(t, f.kairosNode(tpm))
	f.mustSync(tpm, both, 0)
	if again := must(t, f.kairosNode(tpm)); again != first {
		t.Error("the passphrase changed without a document that did")
	}
}

// What a cluster cannot have is said, and the rest is taken.
func TestKairosClusterRefused(t *testing.T) {
	f, tpm, other := newKMS(t, speaksKairos), newSoft(t), newSoft(t)
	f.mustSync(tpm, document, 1)
	f.kairos("delete", tpm)
	if done, err := f.sync(tpm, document); !errors.Is(err, ledger.ErrRefused) || len(done) != 0 {
		t.Errorf("SyncKairos of a deleted TPM = %v, %v, want %v", done, err, ledger.ErrRefused)
	}

	refused(t, f.kairosNode(tpm), "TPM is not enrolled")
	both := document + "---\n" + strings.ReplaceAll(strings.ReplaceAll(document, "machine-a", "machine-b"), "HASH", other.Hash())
	if done, err := f.sync(tpm, both); !errors.Is(err, ledger.ErrRefused) || len(done) != 1 {
		t.Errorf("SyncKairos = %v, %v, want the other document taken", done, err)
	}
	must(t, f.kairosNode(other))
	if done, err := f.sync(other, strings.ReplaceAll(document, "machine-a", "machine-b")+"---\n"+
		strings.ReplaceAll(strings.ReplaceAll(document, "machine-a", "machine-c"), "HASH", newSoft(t).Hash())); err != nil || len(done) != 1 {
		t.Errorf("SyncKairos = %v, %v", done, err)
	}

	if _, err := f.sync(newSoft(t), strings.ReplaceAll(document, "machine-a", "machine-b")); !errors.Is(err, ledger.ErrRefused) {
		t.Errorf("SyncKairos of a name that is another TPM's = %v, want %v", err, ledger.ErrRefused)
	}
}

// What a cluster does not list is told as documents; what it lists is not;
// what a machine's TPM encrypted, or the operator put, is no passphrase that
// was made here.
func TestKairosDocuments(t *testing.T) {
	f, listed, own := newKMS(t, speaksKairos), newSoft(t), newSoft(t)
	f.mustSync(listed, document, 1)
	refused(t, f.kairosNode(own), "")
	f.kairos("approve", own)
	made, ofListed := must(t, f.kairosNode(own)), must(t, f.kairosNode(listed))
	d, err := f.Kairos.Documents(true)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Wipe()
	if len(d.Volumes) != 1 || d.Volumes[0].Hash.String() != own.Hash() || len(d.Volumes[0].Partitions) != 1 || d.Volumes[0].Partitions[0].Label != persistent.Label {
		t.Errorf("KairosDocuments has %+v, want the machine that the cluster does not list", d.Volumes)
	}

	got := map[string]string{}
	for _, s := range d.Secrets {
		got[s.Name] = string(s.Data[kairos.DefaultKey].Reveal())
	}
	want := map[string]string{"machine-a-cos-persistent": ofListed, "tofu-" + own.Hash()[:8] + "-cos-persistent": made}
	if !maps.Equal(got, want) {
		t.Errorf("KairosDocuments has the Secrets %v, want those of both machines", slices.Sorted(maps.Keys(got)))
	}

	if d, err := f.Kairos.Documents(false); err != nil || len(d.Secrets) != 0 {
		t.Errorf("KairosDocuments without secrets has %d (%v)", len(d.Secrets), err)
	}
	f.kairos("delete", own)
	if d, err := f.Kairos.Documents(false); err != nil || len(d.Volumes) != 0 {
		t.Errorf("KairosDocuments tells of a machine that was deleted: %+v, %v", d.Volumes, err)
	}
}
