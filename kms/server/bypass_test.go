package server_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"latchkey/kms/server/lk1"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/server/policy"
	"latchkey/kms/softtpm"
	"latchkey/kms/store"
)

// D10: a quarantine holds for every operation, for a grant that was given
// before, and against another node that shows the same volumes.
func TestQuarantineHoldsForAll(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	if got := f.deposit(node, kms.Put, data, blob("old")); got != kms.OK {
		t.Fatal(got.Code())
	}

	if got := f.deposit(node, kms.Stage, data, blob("new")); got != kms.OK {
		t.Fatal(got.Code())
	}
	early, err := f.get(node, data)
	if err != nil {
		t.Fatal(err)
	}

	if _, err := f.SetQuarantine(ctx, node.NodeID().String(), true); err != nil {
		t.Fatal(err)
	}
	if _, err := f.get(node, root, data); code(err) != "quarantined" {
		t.Errorf("get = %v", err)
	}

	third := kms.UUID{3}
	for op, offer := range map[kms.Operation]kms.Offer{
		kms.Stage:  {UUID: third, Kind: kms.Bound, Secret: secret.Own([]byte("x"))},
		kms.Put:    {UUID: third, Kind: kms.Bound, Secret: secret.Own([]byte("x"))},
		kms.Enroll: {UUID: third, MAC: make([]byte, 32)},
	} {
		if _, err := f.client().Deposit(ctx, f.url, node, op, wants(third), []kms.Offer{offer}); code(err) != "quarantined" {
			t.Errorf("%s = %v, want code quarantined", op, err)
		}
	}

	if _, err := f.VolumesOf(third); err == nil {
		t.Error("a quarantined node's offer was kept")
	}

	// The report of the grant from before commits nothing now.
	if err := f.client().Report(ctx, f.url, early, []kms.Result{{UUID: data, Outcome: kms.OpenedStaged, SeqID: 9}}); err != nil {
		t.Fatal(err)
	}
	if rows, err := f.VolumesOf(data); err != nil || !rows[0].Staged || rows[0].MinSeq != 0 {
		t.Errorf("a quarantined node's report committed: %+v, %v", rows, err)
	}

	// Approving again is no way around, nor is another node with its volumes.
	if _, err := f.ApproveNode(ctx, lk1.Approval{Who: node.NodeID().Words()}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.get(node); code(err) != "quarantined" {
		t.Errorf("get after approving again = %v", err)
	}

	other := newTPM(t)
	if out := f.approve(other, root, data); len(out.Bound) != 0 {
		t.Errorf("another node got the volumes %v", out.Bound)
	}
}

// D10: who is deleted does not come back under its EK; a new EK with the old
// volumes is a stranger; what it owned goes to nobody by itself.
func TestDeleteAndEnrollAgain(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	if _, err := f.DeleteNode(ctx, node.NodeID().Words()); err != nil {
		t.Fatal(err)
	}

	for _, op := range []kms.Operation{kms.Put, kms.Enroll} {
		offer := kms.Offer{UUID: data, MAC: make([]byte, 32)}
		if op == kms.Put {
			offer = kms.Offer{UUID: data, Kind: kms.Bound, Secret: secret.Own([]byte("x"))}
		}
		if _, err := f.client().Deposit(ctx, f.url, node, op, wants(data), []kms.Offer{offer}); code(err) != "refused" {
			t.Errorf("%s of a deleted node = %v", op, err)
		}
	}

	reborn := newTPM(t)
	if out := f.approve(reborn, root); len(out.Bound) != 0 || len(out.Left) != 1 {
		t.Errorf("the deleted node's volume went to another by itself: %+v", out)
	}
	if g, err := f.get(reborn); err != nil || g.Volumes[0].Status != kms.NotBound {
		t.Errorf("Get = %+v, %v, want not-bound", g, err)
	}
}

// D10: what is approved by a name is the node that has all of it.
func TestNamesDoNotCollide(t *testing.T) {
	f := newKMS(t)
	node := newTPM(t)
	f.mustPend(node)
	words := strings.Fields(node.NodeID().Words())
	for i := range words {
		other := append([]string{}, words...)
		other[i] = "zoo"
		if other[i] == words[i] {
			other[i] = "zone"
		}
		if _, err := f.ApproveNode(ctx, lk1.Approval{Who: strings.Join(other, " ")}); err == nil {
			t.Errorf("five of the six words approved a node (word %d was another)", i)
		}
	}
}

// D9: a refusal by any rule of the policy looks like a grant: the same sizes,
// the same steps.
func TestPolicyRefusalsLookAlike(t *testing.T) {
	count := &counting{}
	f := newKMS(t, func(f *fixture) {
		f.wrap = func(st store.Store) store.Store {
			count.Store = st
			return count
		}
	})

	node := f.approved()
	never, err := policy.ParseWindow(strings.ToLower(time.Now().UTC().AddDate(0, 0, 3).Weekday().String()[:3]) + " 00:00-00:01 UTC")
	if err != nil {
		t.Fatal(err)
	}

	var want look
	for _, row := range []struct {
		name string
		set  policy.Settings
		code string
	}{
		{"granted", policy.Settings{}, ""},
		{"network", policy.Settings{Networks: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}, "refused"},
		{"window", policy.Settings{Windows: []policy.Window{never}}, "refused"},
		{"silence", policy.Settings{Silence: ptr(policy.Duration(1))}, "pending"},
		{"per boot", policy.Settings{PerBoot: ptr(1)}, "refused"},
		{"release", policy.Settings{Releases: []string{"next"}}, "pcr-mismatch"},
	} {
		f.SetPolicy(&policy.Policy{Defaults: row.set, Releases: map[string]policy.Release{"next": {PCRs: map[int]policy.Digest{11: {0xff}}}}})
		got, err := f.look(count, node)
		if code(err) != row.code {
			t.Fatalf("%s: Get = %v, want code %q", row.name, err, row.code)
		}

		if row.name == "granted" {
			want = got
		}
		if got != want {
			t.Errorf("%s looks like %+v, a grant like %+v", row.name, got, want)
		}

		if _, err := f.ApproveNode(ctx, lk1.Approval{Who: node.NodeID().Words()}); err != nil { // a lapse is over
			t.Fatal(err)
		}
	}
}

// A look is what an exchange looks like from outside, and what it asks of the
// store.
type look struct{ m2, m4, views, updates int }

func (f *fixture) look(count *counting, n *softtpm.TPM) (l look, err error) {
	w := f.through(&wire{})
	before := *count
	_, err = f.get(n)
	l.m2, l.m4 = len(w.bodies[1]), len(w.bodies[3])
	l.views, l.updates = count.views-before.views, count.updates-before.updates
	return l, err
}
