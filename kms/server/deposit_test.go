package server_test

import (
	"slices"
	"testing"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/softtpm"
)

func (f *fixture) deposit(n kms.Prover, op kms.Operation, u kms.UUID, o kms.Offer) kms.Status {
	f.t.Helper()
	o.UUID = u
	g, err := f.client().Deposit(ctx, f.url, n, op, wants(u), []kms.Offer{o})
	if err != nil {
		f.t.Fatal(err)
	}
	return g.Volumes[0].Status
}

func blob(s string) kms.Offer { return kms.Offer{Kind: kms.Bound, Secret: secret.Own([]byte(s))} }

func TestPutIsCreateOnly(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	if got := f.deposit(node, kms.Put, data, blob("sealed 1")); got != kms.OK {
		t.Fatalf("first put = %s", got.Code())
	}

	if got := f.deposit(node, kms.Put, data, blob("sealed 1")); got != kms.OK {
		t.Errorf("the same put again = %s, want ok: its answer may have been lost", got.Code())
	}
	if got := f.deposit(node, kms.Put, data, blob("sealed 2")); got != kms.Exists {
		t.Errorf("another put = %s, want exists", got.Code())
	}

	if got := f.deposit(node, kms.Put, root, blob("mine now")); got != kms.Exists {
		t.Errorf("put over a static secret = %s, want exists", got.Code())
	}
	g, err := f.get(node, data)
	if err != nil {
		t.Fatal(err)
	}

	if v := g.Volumes[0].Active; v.Kind != kms.Bound || string(v.Secret.Reveal()) != "sealed 1" {
		t.Errorf("Get gave kind %v, want the first blob", v.Kind)
	}
	f.mustGet(node)
}

func TestPutOfAnothersVolume(t *testing.T) {
	f := newKMS(t)
	f.approved()
	other := newTPM(t)
	f.approve(other, data)
	if got := f.deposit(other, kms.Put, root, blob("mine now")); got != kms.NotBound {
		t.Errorf("put of another node's volume = %s, want not-bound", got.Code())
	}
	third := kms.UUID{3}
	if err := f.PutVolume(ctx, third, secret.Own([]byte("for somebody else"))); err != nil {
		t.Fatal(err)
	}
	if got := f.deposit(other, kms.Put, third, blob("mine now")); got != kms.NotBound {
		t.Errorf("put of a volume that the operator keeps for another = %s, want not-bound", got.Code())
	}
}

// put and enroll come from a running system, where PCRs 15 and 11 have gone
// on; firmware policy and command line must be the approved ones as for get.
// Whoever boots something else on an approved machine fills no volume.
func TestDepositsAreJudgedByTheBootState(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	node.PCRs[15], node.PCRs[11] = [32]byte{1}, [32]byte{2}
	if got := f.deposit(node, kms.Put, data, blob("sealed")); got != kms.OK {
		t.Errorf("put = %s", got.Code())
	}

	if _, err := f.client().Deposit(ctx, f.url, node, kms.Stage, wants(data), []kms.Offer{{UUID: data, Kind: kms.Bound, Secret: secret.Own([]byte("next"))}}); code(err) != "pcr15-used" {
		t.Errorf("stage from a running system = %v, want code pcr15-used", err)
	}
	third := kms.UUID{3}
	for _, pcr := range []int{7, 12} {
		was := node.PCRs[pcr]
		node.PCRs[pcr] = [32]byte{0xee}
		for _, op := range []kms.Operation{kms.Put, kms.Enroll} {
			o := kms.Offer{UUID: third, MAC: make([]byte, 32)}
			if op == kms.Put {
				o = kms.Offer{UUID: third, Kind: kms.Bound, Secret: secret.Own([]byte("an intruder's"))}
			}
			if _, err := f.client().Deposit(ctx, f.url, node, op, wants(third), []kms.Offer{o}); code(err) != "pcr-mismatch" {
				t.Errorf("%s with another PCR %d = %v, want code pcr-mismatch", op, pcr, err)
			}
		}

		node.PCRs[pcr] = was
	}

	if rows, err := f.VolumesOf(third); err == nil {
		t.Errorf("a refused deposit left %+v", rows)
	}
}

func TestPendingNodesOffersWaitForApproval(t *testing.T) {
	f := newKMS(t)
	node := newTPM(t)
	offer := blob("sealed at enrollment")
	offer.UUID = root
	if _, err := f.client().Deposit(ctx, f.url, node, kms.Put, wants(root), []kms.Offer{offer}); code(err) != "pending" {
		t.Fatalf("put before approval = %v, want code pending", err)
	}
	node.PCRs[11] = [32]byte{0x11} // the boot that follows measures otherwise
	f.approve(node, root)
	g, err := f.get(node)
	if err != nil || string(g.Volumes[0].Active.Secret.Reveal()) != "sealed at enrollment" {
		t.Errorf("Get = %+v, %v", g, err)
	}
}

func TestMACIsRecordedOnce(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	first, second := make([]byte, 32), make([]byte, 32)
	first[0], second[0] = 1, 2
	f.report(node, kms.Result{UUID: root, Outcome: kms.NotOpened, MAC: second})
	if g, err := f.get(node); err != nil || len(g.Volumes[0].MAC) != 0 {
		t.Errorf("a volume that did not open left a MAC: %v, %v", g, err)
	}

	if got := f.deposit(node, kms.Enroll, root, kms.Offer{MAC: first}); got != kms.OK {
		t.Fatalf("enroll = %s", got.Code())
	}
	if got := f.deposit(node, kms.Enroll, root, kms.Offer{MAC: second}); got != kms.Exists {
		t.Errorf("enroll with another MAC = %s, want exists", got.Code())
	}

	f.report(node, kms.Result{UUID: root, Outcome: kms.OpenedActive, MAC: second})
	if g, err := f.get(node); err != nil || g.Volumes[0].MAC[0] != 1 {
		t.Errorf("the recorded MAC changed: %v, %v", g, err)
	}
}

func (f *fixture) report(n *softtpm.TPM, results ...kms.Result) {
	f.t.Helper()
	var uuids []kms.UUID
	for _, r := range results {
		uuids = append(uuids, r.UUID)
	}
	g, err := f.get(n, uuids...)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.client().Report(ctx, f.url, g, results); err != nil {
		f.t.Fatal(err)
	}
}

// The operator's secret and what the node enrolled belong together.
func TestEnrollBesideTheOperatorsSecret(t *testing.T) {
	f := newKMS(t)
	if err := f.PutVolume(ctx, root, secret.Own([]byte(canary))); err != nil {
		t.Fatal(err)
	}

	node, mac := newTPM(t), make([]byte, 32)
	mac[0] = 7
	if _, err := f.client().Deposit(ctx, f.url, node, kms.Enroll, wants(root), []kms.Offer{{UUID: root, MAC: mac}}); code(err) != "pending" {
		t.Fatalf("enroll = %v, want code pending", err)
	}

	f.approve(node, root)
	g, err := f.get(node)
	if err != nil {
		t.Fatal(err)
	}

	if v := g.Volumes[0]; string(v.Active.Secret.Reveal()) != canary || !slices.Equal(v.MAC, mac) {
		t.Errorf("Get = %+v, want the operator's secret and the enrolled MAC", v)
	}

	// A secret that the node proposed meanwhile does not replace it.
	other := newTPM(t)
	if err := f.PutVolume(ctx, data, secret.Own([]byte("the operator's"))); err != nil {
		t.Fatal(err)
	}

	if _, err := f.client().Deposit(ctx, f.url, other, kms.Put, wants(data), []kms.Offer{{UUID: data, Kind: kms.Bound, Secret: secret.Own([]byte("its own"))}}); code(err) != "pending" {
		t.Fatalf("put = %v, want code pending", err)
	}
	f.approve(other, data)
	if g, err = f.get(other, data); err != nil || string(g.Volumes[0].Active.Secret.Reveal()) != "the operator's" {
		t.Errorf("Get = %+v, %v", g, err)
	}

	if _, err := f.Check(); err != nil {
		t.Error(err)
	}
}

// Rotation: staged beside active until the node has seen it open the
// volume; then the old one is gone, and so is the older header.
func TestRotation(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	if got := f.deposit(node, kms.Put, data, blob("old")); got != kms.OK {
		t.Fatal(got.Code())
	}

	if got := f.deposit(node, kms.Stage, data, blob("new")); got != kms.OK {
		t.Fatal(got.Code())
	}
	if got := f.deposit(node, kms.Stage, data, blob("newer")); got != kms.Exists {
		t.Errorf("staging over a staged secret = %s, want exists: it may have a keyslot", got.Code())
	}

	secrets := func() (active, staged string) {
		g, err := f.get(node, data)
		if err != nil {
			t.Fatal(err)
		}
		return string(g.Volumes[0].Active.Secret.Reveal()), string(g.Volumes[0].Staged.Secret.Reveal())
	}

	f.report(node, kms.Result{UUID: data, Outcome: kms.OpenedActive, SeqID: 3})
	f.report(node, kms.Result{UUID: data, Outcome: kms.NotOpened, SeqID: 9})
	if a, s := secrets(); a != "old" || s != "new" {
		t.Errorf("before the commit: active %q staged %q", a, s)
	}
	f.report(node, kms.Result{UUID: data, Outcome: kms.OpenedStaged, SeqID: 5})
	g, err := f.get(node, data)
	if err != nil || g.Volumes[0].Status != kms.HeaderRollback {
		t.Fatalf("Get with the older header = %+v, %v, want header-rollback", g, err)
	}

	w := wants(data)
	w[0].SeqID = 5
	g, err = f.client().Get(ctx, f.url, node, w)
	if err != nil || string(g.Volumes[0].Active.Secret.Reveal()) != "new" || g.Volumes[0].Staged.Kind != 0 {
		t.Errorf("after the commit: %+v, %v", g, err)
	}
}
