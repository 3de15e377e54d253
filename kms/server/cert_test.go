package server_test

import (
	"os"
	"path/filepath"
	"testing"

	"latchkey/kms/server/fleet"
	"latchkey/kms/server/lk1"

	"latchkey/kms"
	"latchkey/kms/server/ekcert"
	"latchkey/unlock/tpm"
	"latchkey/unlock/tpm/tpmtest"
)

// withCert switches enrollment cert on.
func withCert(roots string) option {
	return func(f *fixture) {
		pool, err := ekcert.Load(roots)
		if err != nil {
			f.t.Fatal(err)
		}
		f.enroll, f.ekRoots = fleet.Cert, pool
	}
}

// identify loads the RSA-2048 EK, whose certificate swtpm_setup makes.
func identify(t *testing.T, sim *tpmtest.Simulator) *tpm.Identity {
	t.Helper()
	chip, err := tpm.Open(sim.Socket)
	if err != nil {
		t.Fatal(err)
	}
	id, err := chip.Identify(ctx, tpm.Options{EK: tpm.EKRSA2048})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		id.Close()
		chip.Close()
	})
	return id
}

// C3: with enrollment cert, a stranger without a vendor's certificate gets no
// row; a real TPM that shows its own waits for approval as ever.
func TestEnrollmentByCertificate(t *testing.T) {
	sim, roots := tpmtest.StartCertified(t)
	id := identify(t, sim)
	f := newKMS(t, withCert(roots))

	f.mustPend(newTPM(t)) // a TPM in software: it is asked for a certificate, and has none
	f.mustPend(id)        // has not read its own yet
	if f.count() != 0 {
		t.Fatal("a node that showed no certificate has a row")
	}

	id.Certify(ctx)
	f.mustPend(id)
	n, err := f.Node(id.NodeID().String())
	if err != nil || n.Certificate == nil || n.Certificate.Root != "CN=swtpm-localca-rootca" {
		t.Fatalf("Node = %+v, %v, want a row with its certificate", n.Certificate, err)
	}

	if _, err := f.ApproveNode(ctx, lk1.Approval{Who: n.Words, Unmeasured: true}); err != nil {
		t.Fatal(err)
	}

	// From here on it is known, and needs no certificate.
	again := identify(t, sim)
	if g, err := f.get(again); err != nil || g.Volumes[0].Status != kms.NoSecret {
		t.Errorf("Get without a certificate after approval = %+v, %v", g, err)
	}
}

// thief shows another machine's certificate.
type thief struct {
	kms.Prover
	certificate []byte
}

func (t thief) EKCert() []byte { return t.certificate }

func TestCertificateOfAnotherEK(t *testing.T) {
	sim, roots := tpmtest.StartCertified(t)
	id := identify(t, sim)
	id.Certify(ctx)
	f := newKMS(t, withCert(roots))
	for name, p := range map[string]thief{
		"another's":  {newTPM(t), id.EKCert()},
		"cut short":  {id, id.EKCert()[:200]},
		"no such":    {id, []byte("certificate")},
		"bits wrong": {id, append(id.EKCert()[:len(id.EKCert())-1], 0xa5)},
	} {
		if _, err := f.get(p); code(err) != "refused" {
			t.Errorf("%s certificate: Get = %v, want code refused", name, err)
		}
	}

	if f.count() != 0 {
		t.Error("one of them left a row")
	}
}

// A chain that ends at a vendor whom the operator did not choose.
func TestCertificateOfAnotherVendor(t *testing.T) {
	sim, _ := tpmtest.StartCertified(t)
	_, others := tpmtest.StartCertified(t)
	id := identify(t, sim)
	id.Certify(ctx)
	f := newKMS(t, withCert(others))
	if _, err := f.get(id); code(err) != "refused" {
		t.Errorf("Get = %v, want code refused", err)
	}
}

// Rows from before cert was switched on cannot be approved without one.
func TestApprovalNeedsTheCertificate(t *testing.T) {
	_, roots := tpmtest.StartCertified(t)
	f := newKMS(t)
	node := newTPM(t)
	f.mustPend(node)
	f.Close()
	withCert(roots)(f)
	if err := f.start(); err != nil {
		t.Fatal(err)
	}

	if _, err := f.ApproveNode(ctx, lk1.Approval{Who: node.NodeID().Words()}); err == nil {
		t.Error("a node without certificate was approved")
	}

	// Who knows the id from elsewhere may register it.
	if _, err := f.ApproveNode(ctx, lk1.Approval{Who: newTPM(t).NodeID().String(), NoPCRs: true}); err != nil {
		t.Error(err)
	}
}

func TestRootsThatAreNone(t *testing.T) {
	_, roots := tpmtest.StartCertified(t)
	if err := os.Remove(filepath.Join(roots, "swtpm-localca-rootca-cert.pem")); err != nil {
		t.Fatal(err)
	}
	if _, err := ekcert.Load(roots); err == nil {
		t.Error("an intermediate certificate alone was taken for a root")
	}
}
