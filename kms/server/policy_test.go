package server_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"latchkey/kms/server/lk1"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/softtpm"
)

var (
	ctx     = context.Background()
	discard = slog.New(slog.DiscardHandler)
)

// Each row begins with an approved node that gets its secret; then one
// thing changes.
func TestWhoGetsWhat(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*fixture, *softtpm.TPM) error
		want   string // code, or empty: still served
	}{
		{"nothing changes", func(*fixture, *softtpm.TPM) error { return nil }, ""},
		{"booted again", func(_ *fixture, n *softtpm.TPM) error { n.Restart++; return nil }, ""},
		{"reset counts over restarts", func(_ *fixture, n *softtpm.TPM) error { n.Reset, n.Restart = 2, 0; return nil }, ""},
		{"PCR 15 used", func(_ *fixture, n *softtpm.TPM) error { n.PCRs[15] = [32]byte{1}; return nil }, "pcr15-used"},
		{"other firmware policy", func(_ *fixture, n *softtpm.TPM) error { n.PCRs[7] = [32]byte{1}; return nil }, "pcr-mismatch"},
		{"other kernel", func(_ *fixture, n *softtpm.TPM) error { n.PCRs[11] = [32]byte{1}; return nil }, "pcr-mismatch"},
		{"other command line", func(_ *fixture, n *softtpm.TPM) error { n.PCRs[12] = [32]byte{1}; return nil }, "pcr-mismatch"},
		{"TPM cleared", func(_ *fixture, n *softtpm.TPM) error { n.Reset = 0; return nil }, "tpm-cleared"},
		{"quarantined", func(f *fixture, n *softtpm.TPM) error {
			_, err := f.SetQuarantine(ctx, n.NodeID().String(), true)
			return err
		}, "quarantined"},
		{"readmitted", func(f *fixture, n *softtpm.TPM) error {
			if _, err := f.SetQuarantine(ctx, n.NodeID().String(), true); err != nil {
				return err
			}
			_, err := f.SetQuarantine(ctx, n.NodeID().Words(), false)
			return err
		}, ""},
		{"deleted", func(f *fixture, n *softtpm.TPM) error {
			_, err := f.DeleteNode(ctx, n.NodeID().String())
			return err
		}, "refused"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			f := newKMS(t)
			node := f.approved()
			f.mustGet(node)
			if err := row.change(f, node); err != nil {
				t.Fatal(err)
			}
			if row.want == "" {
				f.mustGet(node)
			} else if _, err := f.get(node); code(err) != row.want {
				t.Errorf("Get = %v, want code %s", err, row.want)
			}
		})
	}
}

func TestAcceptTakesTheNewBootState(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	node.PCRs[11], node.Reset = [32]byte{99}, 0
	if _, err := f.get(node); code(err) != "tpm-cleared" {
		t.Fatalf("Get = %v, want code tpm-cleared", err)
	}

	shown, err := f.Node(node.NodeID().String())
	if err != nil || len(shown.Change) != 1 || shown.Change[0] != "PCR 11" {
		t.Errorf("Node shows %v as changed (%v), want PCR 11", shown.Change, err)
	}
	if _, err := f.AcceptNode(ctx, node.NodeID().Words(), lk1.Acceptance{}); err != nil {
		t.Fatal(err)
	}

	f.mustGet(node)
	node.PCRs[11] = [32]byte{11} // the old kernel is no longer the approved one
	if _, err := f.get(node); code(err) != "pcr-mismatch" {
		t.Errorf("Get with the old boot state = %v, want code pcr-mismatch", err)
	}
}

// Approving again binds volumes; it takes no other boot state by the way.
func TestApprovingAgainKeepsThePins(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	node.PCRs[11] = [32]byte{99}
	if _, err := f.get(node); code(err) != "pcr-mismatch" {
		t.Fatal(err)
	}
	if _, err := f.ApproveNode(ctx, lk1.Approval{Who: node.NodeID().Words()}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.get(node); code(err) != "pcr-mismatch" {
		t.Errorf("Get = %v, want code pcr-mismatch still", err)
	}
}

// Part of an id names no node to approve: anybody can make a key whose id
// begins as another's.
func TestApprovalNeedsTheWholeName(t *testing.T) {
	f := newKMS(t)
	node := newTPM(t)
	f.mustPend(node)
	id, words := node.NodeID().String(), strings.Fields(node.NodeID().Words())
	for _, who := range []string{id[:8], id[:63], "", strings.Join(words[:5], " "), strings.Join(append(words, "extra"), " ")} {
		if _, err := f.ApproveNode(ctx, lk1.Approval{Who: who}); err == nil {
			t.Errorf("approving %q succeeded", who)
		}
	}
	if _, err := f.ApproveNode(ctx, lk1.Approval{Who: strings.ToUpper(strings.Join(words, "-"))}); err != nil {
		t.Error(err)
	}
}

func TestAcceptNeedsAnUnlockingBoot(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	node.PCRs[15], node.PCRs[11] = [32]byte{1}, [32]byte{5}
	if _, err := f.get(node); code(err) != "pcr15-used" {
		t.Fatalf("Get = %v, want code pcr15-used", err)
	}
	if _, err := f.AcceptNode(ctx, node.NodeID().Words(), lk1.Acceptance{}); err == nil {
		t.Error("a running system's PCRs were accepted as a boot state")
	}
}

func TestWithoutPinsAnyBootStateIsServed(t *testing.T) {
	f := newKMS(t)
	if err := f.PutVolume(ctx, root, secret.Own([]byte(canary))); err != nil {
		t.Fatal(err)
	}

	node := newTPM(t)
	if _, err := f.get(node); code(err) != "pending" {
		t.Fatal(err)
	}

	if _, err := f.ApproveNode(ctx, lk1.Approval{Who: node.NodeID().Words(), NoPCRs: true, Volumes: []kms.UUID{root}}); err != nil {
		t.Fatal(err)
	}
	node.PCRs[7] = [32]byte{1}
	f.mustGet(node)
	node.PCRs[15] = [32]byte{1}
	if _, err := f.get(node); code(err) != "pcr15-used" {
		t.Errorf("Get with PCR 15 used = %v, want code pcr15-used even without pins", err)
	}
}

func TestApprovalBindsWhatWasShown(t *testing.T) {
	f := newKMS(t)
	first := f.approved()
	second := newTPM(t)
	out := f.approve(second, root, data)
	if len(out.Left) != 1 || out.Left[0] != root || len(out.Bound) != 1 || out.Bound[0] != data {
		t.Errorf("approval bound %v and left %v, want it to leave the other node's root", out.Bound, out.Left)
	}

	g, err := f.get(second, root, data)
	if err != nil {
		t.Fatal(err)
	}

	if g.Volumes[0].Status != kms.NotBound || g.Volumes[1].Status != kms.NoSecret {
		t.Errorf("second node got %v and %v, want not-bound and no-secret", g.Volumes[0].Status.Code(), g.Volumes[1].Status.Code())
	}
	if g.Volumes[0].Active.Secret.Len() != 0 {
		t.Error("a volume that is not bound was given out")
	}

	out, err = f.ApproveNode(ctx, lk1.Approval{Who: second.NodeID().Words(), Move: true, Volumes: []kms.UUID{root}})
	if err != nil || len(out.Moved) != 1 {
		t.Fatalf("ApproveNode with Move = %+v, %v", out, err)
	}

	f.mustGet(second)
	if g, err = f.get(first); err != nil || g.Volumes[0].Status != kms.NotBound {
		t.Errorf("the volume was moved, but its old node still got %+v, %v", g, err)
	}
}

func TestVolumeNotShownIsNotBound(t *testing.T) {
	f := newKMS(t)
	if err := f.PutVolume(ctx, data, secret.Own([]byte("another"))); err != nil {
		t.Fatal(err)
	}

	node := f.approved() // showed root only
	g, err := f.get(node, root, data)
	if err != nil || g.Volumes[0].Status != kms.OK || g.Volumes[1].Status != kms.NotBound {
		t.Fatalf("Get = %+v, %v, want root only", g, err)
	}

	if _, err := f.ApproveNode(ctx, lk1.Approval{Who: node.NodeID().Words(), Bind: true, Volumes: []kms.UUID{data}}); err != nil {
		t.Fatal(err)
	}
	if g, err = f.get(node, root, data); err != nil || g.Volumes[1].Status != kms.OK {
		t.Errorf("Get after approving what was shown since = %+v, %v", g, err)
	}
}

func TestClosedEnrollment(t *testing.T) {
	f := newKMS(t, closed)
	if err := f.PutVolume(ctx, root, secret.Own([]byte(canary))); err != nil {
		t.Fatal(err)
	}

	node := newTPM(t)
	if _, err := f.get(node); code(err) != "refused" {
		t.Errorf("Get of an unknown node = %v, want code refused", err)
	}
	if nodes, err := f.Nodes(); err != nil || len(nodes) != 0 {
		t.Errorf("an unknown node left %v (%v)", nodes, err)
	}

	registration := lk1.Approval{Who: node.NodeID().String(), Volumes: []kms.UUID{root}}
	if _, err := f.ApproveNode(ctx, registration); err == nil {
		t.Error("a node without a known boot state was registered without saying so")
	}
	registration.NoPCRs = true
	if _, err := f.ApproveNode(ctx, registration); err != nil {
		t.Fatal(err)
	}

	f.mustGet(node)
}

func TestDeletedNodeCannotComeBack(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	if _, err := f.DeleteNode(ctx, node.NodeID().String()); err != nil {
		t.Fatal(err)
	}
	if _, err := f.get(node); code(err) != "refused" {
		t.Errorf("Get = %v, want code refused", err)
	}
	if _, err := f.ApproveNode(ctx, lk1.Approval{Who: node.NodeID().String(), NoPCRs: true}); err == nil {
		t.Error("a deleted node was approved again")
	}
	if _, err := f.SetQuarantine(ctx, node.NodeID().String(), false); err == nil {
		t.Error("a deleted node was readmitted")
	}
}

func TestHeaderMustBeTheEnrolledOne(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	ask := func(w kms.Want) kms.Granted {
		t.Helper()
		g, err := f.client().Get(ctx, f.url, node, []kms.Want{w})
		if err != nil {
			t.Fatal(err)
		}
		return g.Volumes[0]
	}

	fake := wants(root)[0]
	fake.Digest[5] = 1
	if got := ask(fake); got.Status != kms.HeaderDiffers || got.Active.Secret.Len() != 0 {
		t.Errorf("a fake volume with the same UUID got %v", got.Status.Code())
	}
	if err := f.AcceptHeader(ctx, root, ""); err != nil {
		t.Fatal(err)
	}

	if got := ask(fake); got.Status != kms.OK {
		t.Errorf("the accepted header got %v", got.Status.Code())
	}
}
