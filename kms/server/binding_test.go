package server_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/server/lk1"
	"latchkey/kms/server/policy"
)

// asked presents what a node asks for as "standing UUID", sorted.
func (f *fixture) asked(who string) (list []string) {
	f.t.Helper()
	n, err := f.Node(who)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, v := range n.Asks {
		list = append(list, string(v.Standing)+" "+v.UUID.String()[:8])
	}
	slices.Sort(list)
	return list
}

// A machine asks for more between the operator's look and his word. It gets
// no secret that was put for another, and no volume that another waits for.
func TestApprovalOfMoreThanWasLookedAt(t *testing.T) {
	f := newKMS(t)
	mine, stored, contested := kms.UUID{9}, kms.UUID{1}, kms.UUID{3}
	if err := f.PutVolume(ctx, stored, secret.Own([]byte(canary))); err != nil {
		t.Fatal(err)
	}
	other, node := newTPM(t), newTPM(t)
	who := node.NodeID().Words()
	proposal := blob("the other's")
	proposal.UUID = contested
	if _, err := f.client().Deposit(ctx, f.url, other, kms.Put, wants(contested), []kms.Offer{proposal}); code(err) != "pending" {
		t.Fatal(err)
	}
	if _, err := f.get(node, mine); code(err) != "pending" {
		t.Fatal(err)
	}
	looked, err := f.Node(who)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.get(node, mine, stored, contested); code(err) != "pending" {
		t.Fatal(err)
	}

	if _, err := f.ApproveNode(ctx, lk1.Approval{Who: who, Seen: looked.Seen}); err == nil {
		t.Error("approved by the digest of what it showed before")
	}
	out, err := f.ApproveNode(ctx, lk1.Approval{Who: who})
	if err != nil || !slices.Equal(out.Bound, []kms.UUID{mine}) || len(out.Held) != 2 {
		t.Fatalf("ApproveNode = bound %v, held %v, %v; want %v bound and two held", out.Bound, out.Held, err, mine)
	}
	g, err := f.get(node, mine, stored, contested)
	if err != nil || g.Volumes[1].Status != kms.NotBound || g.Volumes[2].Status != kms.NotBound {
		t.Fatalf("Get = %v, %v, want two volumes not bound", g, err)
	}
	if got, want := f.asked(who), []string{"contested 03000000", "stored 01000000"}; !slices.Equal(got, want) {
		t.Errorf("Node.Asks = %v, want %v", got, want)
	}

	if out, err = f.ApproveNode(ctx, lk1.Approval{Who: who, Volumes: []kms.UUID{stored}}); err != nil || !slices.Equal(out.Bound, []kms.UUID{stored}) {
		t.Errorf("naming a volume bound %v, %v, want %v", out.Bound, err, stored)
	}
}

// A machine that is approved takes no volume that another waits for, and the
// operator's passphrase goes to no volume that a machine took by itself.
func TestVolumesThatMachinesTake(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	waits := newTPM(t)
	if _, err := f.get(waits, kms.UUID{4}); code(err) != "pending" {
		t.Fatal(err)
	}
	if got := f.deposit(node, kms.Put, kms.UUID{4}, blob("planted")); got != kms.NotBound {
		t.Errorf("put of a volume that another machine waits for = %s, want not-bound", got.Code())
	}
	if got := f.deposit(node, kms.Enroll, kms.UUID{5}, kms.Offer{}); got != kms.OK {
		t.Fatal(got.Code())
	}
	for _, version := range []byte{3, 5} {
		if got := f.deposit(node, kms.Enroll, kms.UUID{6, 6: version << 4}, kms.Offer{}); got != kms.NotBound {
			t.Errorf("enroll of a volume with a UUID of version %d, made of a name = %s, want not-bound", version, got.Code())
		}
	}
	who := node.NodeID().Words()
	if err := f.PutVolume(ctx, kms.UUID{5}, secret.Own([]byte("for another machine"))); err == nil || !strings.Contains(err.Error(), who) {
		t.Errorf("PutVolume into a volume that a machine took = %v, want a refusal that names it", err)
	}
	if _, err := f.ApproveNode(ctx, lk1.Approval{Who: who, Volumes: []kms.UUID{{5}}}); err != nil {
		t.Fatal(err)
	}
	if err := f.PutVolume(ctx, kms.UUID{5}, secret.Own([]byte("for this machine"))); err != nil {
		t.Errorf("PutVolume into a volume that the operator named: %v", err)
	}
}

// A machine that is approved does not fill the database.
func TestMachineTakesSoManyVolumes(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	taken := 0
	for i := range 70 {
		if f.deposit(node, kms.Put, kms.UUID{100, byte(i)}, blob("x")) == kms.OK {
			taken++
		}
	}
	if taken != 63 {
		t.Errorf("a machine with one volume took %d more, want 63", taken)
	}
	if got := f.deposit(node, kms.Put, kms.UUID{100, 0}, blob("x")); got != kms.OK {
		t.Errorf("the same put again = %s, want ok", got.Code())
	}
}

// How many it takes by itself is a setting, which takes effect at once.
func TestMachineTakesAsManyAsIsSet(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	f.SetPolicy(&policy.Policy{Defaults: policy.Settings{OwnVolumes: ptr(2)}})
	for i, want := range []kms.Status{kms.OK, kms.NotBound} {
		if got := f.deposit(node, kms.Put, kms.UUID{100, byte(i)}, blob("x")); got != want {
			t.Errorf("put %d = %s, want %s", i, got.Code(), want.Code())
		}
	}
	f.set(node, policy.Settings{OwnVolumes: ptr(3)})
	if got := f.deposit(node, kms.Put, kms.UUID{100, 1}, blob("x")); got != kms.OK {
		t.Errorf("put of a machine that may = %s, want ok", got.Code())
	}
}

// A machine that is approved stores so often within an hour, as a setting
// says; it is told so, and goes on getting its keys.
func TestMachineStoresSoOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKMS(t, inMemory)
		node := f.approved()
		f.SetPolicy(&policy.Policy{Defaults: policy.Settings{StoresPerHour: ptr(3)}})
		put := func(op kms.Operation, o kms.Offer) string {
			o.UUID = data
			_, err := f.client().Deposit(ctx, f.url, node, op, wants(data), []kms.Offer{o})
			return code(err)
		}
		for i, op := range []kms.Operation{kms.Put, kms.Enroll, kms.Put} {
			o := blob("x")
			if op == kms.Enroll {
				o = kms.Offer{}
			}
			if got := put(op, o); got != "" {
				t.Errorf("%s, the %d. time = %s, want ok", op, i+1, got)
			}
		}
		for range 2 {
			if got := put(kms.Put, blob("x")); got != "too-often" {
				t.Errorf("put, the 4. time = %s, want too-often", got)
			}
		}
		if row := f.node(node); row.LastReason != policy.RuleStores {
			t.Errorf("the operator is told %q, want %s", row.LastReason, policy.RuleStores)
		}
		f.mustGet(node)

		time.Sleep(time.Hour)
		if got := put(kms.Put, blob("x")); got != "" {
			t.Errorf("put an hour later = %s, want ok", got)
		}
		f.set(node, policy.Settings{StoresPerHour: ptr(0)})
		for range 5 {
			if got := put(kms.Put, blob("x")); got != "" {
				t.Errorf("put of a machine that may store any number = %s, want ok", got)
			}
		}
	})
}

// What a machine stored is not opened in another's name because a volume was
// moved.
func TestMoveOfWhatAMachineStored(t *testing.T) {
	for _, row := range []struct {
		secrets lk1.Secrets
		refused bool
		want    kms.Status
	}{
		{"", true, kms.NotBound},
		{lk1.SecretsDrop, false, kms.NoSecret},
		{lk1.SecretsKeep, false, kms.OK},
		{"maybe", true, kms.NotBound},
	} {
		t.Run(string(row.secrets), func(t *testing.T) {
			f := newKMS(t)
			first, second := f.approved(), newTPM(t)
			if got := f.deposit(first, kms.Put, kms.UUID{4}, kms.Offer{Kind: kms.Static, Secret: secret.Own([]byte("planted"))}); got != kms.OK {
				t.Fatal(got.Code())
			}
			if _, err := f.get(second, kms.UUID{4}, root); code(err) != "pending" {
				t.Fatal(err)
			}
			who := second.NodeID().Words()
			if out, err := f.ApproveNode(ctx, lk1.Approval{Who: who, Move: true, Secrets: lk1.SecretsKeep}); err != nil || len(out.Moved) != 0 || len(out.Held) != 2 {
				t.Fatalf("ApproveNode with Move, naming nothing = %+v, %v, want both held", out, err)
			}
			_, err := f.ApproveNode(ctx, lk1.Approval{Who: who, Move: true, Volumes: []kms.UUID{{4}}, Secrets: row.secrets})
			if (err != nil) != row.refused {
				t.Fatalf("ApproveNode with Move = %v", err)
			}
			if g, err := f.get(second, kms.UUID{4}); err != nil || g.Volumes[0].Status != row.want {
				t.Errorf("the new machine got %v, %v, want %s", g, err, row.want.Code())
			}
		})
	}
}
