package server_test

import (
	"context"
	"strings"
	"testing"

	"latchkey/kms/server/fleet"

	"latchkey/kms/server"
	"latchkey/kms/server/kairos"
	"latchkey/kms/server/kairos/kairostest"
)

// speaksKairos switches both protocols on.
func speaksKairos(f *fixture) { f.protocols = []server.Protocol{server.LK1, server.Kairos} }

func tofu(f *fixture) { f.enroll = fleet.Tofu }

// persistent is what a node of Kairos asks for first.
var persistent = kairos.Request{Label: "COS_PERSISTENT", Name: "vda5", UUID: "11111111-2222-3333-4444-555555555555"}

func newSoft(t testing.TB) *kairostest.Soft {
	t.Helper()
	tpm, err := kairostest.NewSoft()
	if err != nil {
		t.Fatal(err)
	}
	return tpm
}

func (f *fixture) kairosNode(tpm kairostest.TPM) *kairostest.Node {
	return &kairostest.Node{URL: f.url, TPM: tpm, Want: persistent}
}

// apply takes documents in which HASH stands for the TPM's.
func (f *fixture) apply(tpm *kairostest.Soft, documents string) error {
	_, err := f.Kairos.Apply(context.Background(), []byte(strings.ReplaceAll(documents, "HASH", tpm.Hash())), false)
	return err
}

const document = `apiVersion: keyserver.kairos.io/v1alpha1
kind: SealedVolume
metadata: {name: machine-a, namespace: default}
spec:
  TPMHash: HASH
  partitions:
    - label: COS_PERSISTENT
`

// must gets a passphrase in the new exchange.
func must(t *testing.T, n *kairostest.Node) string {
	t.Helper()
	r, err := n.Attest()
	if err != nil || r.Passphrase == "" {
		t.Fatalf("Attest = %+v, %v, want a passphrase", r, err)
	}
	return r.Passphrase
}

// refused: an error with that text; none means a closed connection.
func refused(t *testing.T, n *kairostest.Node, text string) {
	t.Helper()
	r, err := n.Attest()
	if err != nil || r.Passphrase != "" || (text == "") != (r.Error == "") || !strings.Contains(r.Error, text) {
		t.Errorf("Attest = %+v, %v, want only an error with %q", r, err, text)
	}
}

func (f *fixture) kairos(command string, tpm *kairostest.Soft) {
	f.t.Helper()
	if _, err := f.Kairos.Change(context.Background(), command, tpm.Hash()); err != nil {
		f.t.Fatal(err)
	}
}

func setUp(t *testing.T) (*fixture, *kairostest.Soft, *kairostest.Node) {
	t.Helper()
	f, tpm := newKMS(t, speaksKairos), newSoft(t)
	if err := f.apply(tpm, document); err != nil {
		t.Fatal(err)
	}
	return f, tpm, f.kairosNode(tpm)
}

// A generated passphrase is 44 characters, the same each time, and only
// this TPM's. Every rule has its refusal beside it.
func TestKairosGenerated(t *testing.T) {
	f, tpm, n := setUp(t)
	first := must(t, n)
	if len(first) != 44 {
		t.Errorf("generated passphrase has %d characters, want 44", len(first))
	}
	if again := must(t, n); again != first {
		t.Error("the second answer is another passphrase")
	}

	refused(t, f.kairosNode(newSoft(t)), "") // unknown: pending
	other := *n
	other.Want = kairos.Request{Label: "DATA"}
	refused(t, &other, "") // no such volume: it may come
	other.Want = kairos.Request{}
	refused(t, &other, "") // nothing never matches
	f.restart()
	if again := must(t, f.kairosNode(tpm)); again != first {
		t.Error("the answer after a restart is another passphrase")
	}
}

func (f *fixture) restart() {
	f.t.Helper()
	f.Close()
	if err := f.start(); err != nil {
		f.t.Fatal(err)
	}
}

func TestKairosBootState(t *testing.T) {
	f, tpm, n := setUp(t)
	n.Live = true
	tpm.PCRs[11] = [32]byte{1}
	first := must(t, n) // a live system teaches nothing
	n.Live = false
	tpm.PCRs[11] = [32]byte{2}
	must(t, n) // learnt
	tpm.PCRs[11] = [32]byte{3}
	refused(t, n, "PCR verification failed: PCR11 changed")
	n.Live = true // saying so is no way around
	refused(t, n, "PCR verification failed")
	n.Live = false
	if r, err := n.GetPass(); err != nil || r.Passphrase != "" || r.Error != "downgrade" {
		t.Errorf("GetPass around the boot state = %+v, %v, want downgrade", r, err)
	}

	refused(t, n, "PCR verification failed")
	f.kairos("accept", tpm)
	if must(t, n) != first {
		t.Error("another passphrase after accept")
	}
}

func TestKairosPCRsOfDocument(t *testing.T) {
	f, tpm := newKMS(t, speaksKairos), newSoft(t)
	pinned := document + `  attestation:
    pcrValues:
      pcrs: {"7": "0700000000000000000000000000000000000000000000000000000000000000", "11": ""}
`
	if err := f.apply(tpm, pinned); err != nil {
		t.Fatal(err)
	}

	n := f.kairosNode(tpm)
	refused(t, n, "PCR7 changed")
	tpm.PCRs[7], tpm.PCRs[11], tpm.PCRs[0] = [32]byte{7}, [32]byte{1}, [32]byte{9}
	must(t, n)
	tpm.PCRs[0] = [32]byte{8} // not in the map: ignored
	must(t, n)
	tpm.PCRs[11] = [32]byte{2} // learnt once
	refused(t, n, "PCR11 changed")
	if err := f.apply(tpm, pinned); err != nil { // again: nothing is forgotten
		t.Fatal(err)
	}

	refused(t, n, "PCR11 changed")
	second := strings.NewReplacer("machine-a", "machine-b", "COS_PERSISTENT", "DATA").Replace(pinned)
	if err := f.apply(tpm, second); err != nil { // nor by another document
		t.Fatal(err)
	}

	refused(t, n, "PCR11 changed")
	if err := f.apply(tpm, strings.ReplaceAll(pinned, `, "11": ""`, `, "11": "", "0": ""`)); err != nil {
		t.Fatal(err)
	}

	must(t, n) // the operator said: learn again
}

func TestKairosReplay(t *testing.T) {
	f, tpm, n := setUp(t)
	if err := tpm.KeepAK(); err != nil {
		t.Fatal(err)
	}

	must(t, n)
	refused(t, n, "attestation key was used before")
	f.restart() // it is not forgotten
	n = f.kairosNode(tpm)
	refused(t, n, "attestation key was used before")
}

// peers I3: their client makes its key once for all its tries: the same key
// with a later clock tries again, with the same or an earlier one it is a
// replay; and being told to ask again spends nothing.
func TestKairosRetry(t *testing.T) {
	f, tpm, n := setUp(t)
	if err := tpm.KeepAK(); err != nil {
		t.Fatal(err)
	}

	n.Want.Label, n.Want.Name, n.Want.UUID = "NOT_MINE", "", ""
	refused(t, n, "") // it is to ask again
	n.Want = persistent
	must(t, n)
	tpm.Clock += 1500
	must(t, n)
	f.restart()
	n = f.kairosNode(tpm)
	refused(t, n, "attestation key was used before")
	tpm.Clock -= 1500
	refused(t, n, "attestation key was used before")
	tpm.Clock += 3000
	must(t, n)

	other := newSoft(t)
	other.EK, other.Clock = tpm.EK, tpm.Clock+1
	n.TPM = other
	must(t, n)
	n.TPM = tpm // only the key that was spent last is tried again with
	tpm.Clock += 3000
	refused(t, n, "attestation key was used before")
}

// peers I4: a software TPM forgets its clock when its host loses power: that
// is audited, and refused only where it is asked for.
func TestKairosClockBehind(t *testing.T) {
	for _, strict := range []bool{false, true} {
		f := newKMS(t, speaksKairos, func(f *fixture) { f.strictClock = strict })
		tpm := newSoft(t)
		if err := f.apply(tpm, document); err != nil {
			t.Fatal(err)
		}
		n := f.kairosNode(tpm)
		must(t, n)
		tpm.Clock--
		if strict {
			refused(t, n, "clock is behind")
			tpm.Safe = 0
			must(t, n)
			continue
		}
		must(t, n)
		log := f.log()
		if last := log[len(log)-1]; !strings.Contains(last.Detail, "TPM clock 999 ms, behind 1000") {
			t.Errorf("the audit log says %q, want the clocks", last.Detail)
		}
	}
}

func TestKairosQuarantineAndTombstone(t *testing.T) {
	f, tpm, n := setUp(t)
	first := must(t, n)
	f.kairos("quarantine", tpm)
	refused(t, n, "TPM is quarantined")
	if r, err := n.GetPass(); err != nil || r.Error != "quarantined: COS_PERSISTENT" {
		t.Errorf("GetPass = %+v, %v, want quarantined", r, err)
	}

	f.kairos("readmit", tpm)
	if err := f.apply(tpm, document+"  quarantined: true\n"); err != nil {
		t.Fatal(err)
	}

	refused(t, n, "TPM is quarantined")
	if _, err := f.Kairos.Change(context.Background(), "readmit", tpm.Hash()); err == nil {
		t.Error("readmit over the document's quarantine was taken")
	}
	if err := f.apply(tpm, document); err != nil {
		t.Fatal(err)
	}

	if must(t, n) != first {
		t.Error("another passphrase after quarantine")
	}
	f.kairos("delete", tpm)
	refused(t, n, "TPM is not enrolled")
	if err := f.apply(tpm, document); err == nil {
		t.Error("apply brought a deleted TPM back")
	}

	for _, command := range []string{"approve", "accept", "readmit"} {
		if _, err := f.Kairos.Change(context.Background(), command, tpm.Hash()); err == nil {
			t.Errorf("%s brought a deleted TPM back", command)
		}
	}

	refused(t, n, "TPM is not enrolled")
}
