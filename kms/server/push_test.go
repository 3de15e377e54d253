package server_test

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/server/lk1"
	"latchkey/kms/softtpm"
)

const recovery = "a recovery key that a person has"

// waits is a machine that nobody knows and that waits for its keys.
func (f *fixture) waits() *softtpm.TPM {
	f.t.Helper()
	node := newTPM(f.t)
	f.mustPend(node)
	return node
}

// push pushes the recovery key for all that a machine asks for.
func (f *fixture) push(node *softtpm.TPM, volumes ...kms.UUID) error {
	f.t.Helper()
	n, err := f.Node(node.NodeID().String())
	if err != nil {
		f.t.Fatal(err)
	}
	_, err = f.Push(ctx, lk1.Push{Who: n.Words, Seen: n.Seen, Volumes: volumes, Passphrase: secret.Own([]byte(recovery))})
	return err
}

// pushedTo is what a question gets of the push, or the code of its refusal.
func (f *fixture) pushedTo(p kms.Prover, uuids ...kms.UUID) string {
	f.t.Helper()
	g, err := f.get(p, uuids...)
	if err != nil {
		return code(err)
	}
	var all []string
	for _, v := range g.Volumes {
		text := v.Status.Code()
		if v.Active.Kind == kms.Pushed {
			text = string(v.Active.Secret.Reveal())
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

// A machine that nobody approved gets what was pushed to it, once.
func TestPush(t *testing.T) {
	f := newKMS(t)
	node := f.waits()
	if err := f.push(node); err != nil {
		t.Fatal(err)
	}
	if got := f.pushedTo(node); got != recovery {
		t.Errorf("the next question gets %q, want the push", got)
	}
	if got := f.pushedTo(node); got != "pending" {
		t.Errorf("the one after gets %q, want pending", got)
	}
	var said []string
	for _, e := range f.log() {
		if strings.HasPrefix(e.Event, "push") {
			said = append(said, e.Event)
		}
		if strings.Contains(e.Detail, recovery) {
			t.Error("the audit log has the passphrase")
		}
	}
	if want := "push, push given"; strings.Join(said, ", ") != want {
		t.Errorf("the log says %q, want %s", said, want)
	}
}

// A push of some volumes leaves the others as they are, and what is known of
// a volume goes along.
func TestPushOfSomeVolumes(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	f.mustGet(node)
	if got := f.pushedTo(node, root, data); got != "ok, not-bound" {
		t.Fatalf("without a push: %q", got)
	}
	if err := f.push(node, data); err != nil {
		t.Fatal(err)
	}
	if got := f.pushedTo(node, root, data); got != "ok, "+recovery {
		t.Errorf("with a push: %q", got)
	}
	if err := f.push(node, root); err != nil {
		t.Fatal(err)
	}
	g, err := f.get(node, root)
	if err != nil || g.Volumes[0].Active.Kind != kms.Pushed || !bytes.Equal(g.Volumes[0].Digest, append([]byte{root[0]}, make([]byte, 31)...)) {
		t.Errorf("a push for an enrolled volume = %+v, %v, want its header's digest with it", g, err)
	}
}

// What is not exactly the TPM in the boot that the operator looked at, in
// time, ends the push and gets nothing of it; nor does that boot then.
func TestPushIsForOneBoot(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(f *fixture, node *softtpm.TPM)
		want   string
	}{
		{"the same boot, in time", func(*fixture, *softtpm.TPM) { time.Sleep(9 * time.Minute) }, recovery},
		{"expired", func(*fixture, *softtpm.TPM) { time.Sleep(10 * time.Minute) }, "pending"},
		{"another boot", func(_ *fixture, node *softtpm.TPM) { node.Reset++ }, "pending"},
		{"resumed from sleep", func(_ *fixture, node *softtpm.TPM) { node.Restart++ }, "pending"},
		{"another kernel in the same boot", func(_ *fixture, node *softtpm.TPM) { node.PCRs[12] = [32]byte{99} }, "pending"},
		{"after the volumes were opened", func(_ *fixture, node *softtpm.TPM) { node.PCRs[15] = [32]byte{1} }, "pending"},
		{"in quarantine", func(f *fixture, node *softtpm.TPM) {
			if _, err := f.SetQuarantine(ctx, node.NodeID().String(), true); err != nil {
				f.t.Fatal(err)
			}
		}, "quarantined"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newKMS(t, inMemory)
				node := f.waits()
				before := *node
				before.PCRs = map[int][32]byte{7: {7}, 11: {11}, 12: {12}}
				if err := f.push(node); err != nil {
					t.Fatal(err)
				}
				row.change(f, node)
				if got := f.pushedTo(node); got != row.want {
					t.Errorf("Get = %q, want %q", got, row.want)
				}
				if got := f.pushedTo(&before); got == recovery {
					t.Error("the push was given twice, or after somebody else had asked")
				}
			})
		})
	}
}

// Another machine gets nothing, and leaves the push alone.
func TestPushIsForOneMachine(t *testing.T) {
	f := newKMS(t)
	node, other := f.waits(), f.waits()
	if err := f.push(node); err != nil {
		t.Fatal(err)
	}
	if got := f.pushedTo(other); got != "pending" {
		t.Errorf("another machine gets %q", got)
	}
	w := f.through(&wire{})
	if got := f.pushedTo(node); got != recovery {
		t.Errorf("the machine gets %q, want the push", got)
	}
	if again, m4 := f.replayed(w); bytes.Equal(again, m4) || len(again) != len(m4) {
		t.Error("the same proof again got the same answer")
	}
	if at := bytes.Index(bytes.Join(w.bodies, nil), []byte(recovery)); at >= 0 {
		t.Error("the wire has the passphrase")
	}
}

// replayed sends the last M3 again.
func (f *fixture) replayed(w *wire) (again, m4 []byte) {
	m3 := w.bodies[len(w.bodies)-2]
	_, again = post(f.Handler(), kms.RedeemPath, m3)
	return again, w.bodies[len(w.bodies)-1]
}

// What nobody may push to.
func TestPushesThatAreRefused(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(f *fixture, node *softtpm.TPM, p *lk1.Push)
		want   string
	}{
		{"without a look", func(_ *fixture, _ *softtpm.TPM, p *lk1.Push) { p.Seen = "" }, "say which boot you looked at"},
		{"another boot state meanwhile", func(f *fixture, node *softtpm.TPM, _ *lk1.Push) {
			node.PCRs[12] = [32]byte{9}
			f.mustPend(node)
		}, "it has shown something else since"},
		{"it does not wait any more", func(*fixture, *softtpm.TPM, *lk1.Push) { time.Sleep(2*time.Minute + time.Second) }, "it does not wait: it asked last at"},
		{"it runs", func(f *fixture, node *softtpm.TPM, p *lk1.Push) {
			node.PCRs[15] = [32]byte{1}
			f.get(node)
			p.Seen = f.seen(node)
		}, "its last proof was not from a boot that waits"},
		{"in quarantine", func(f *fixture, node *softtpm.TPM, _ *lk1.Push) { f.SetQuarantine(ctx, node.NodeID().String(), true) }, "it is in quarantine"},
		{"deleted", func(f *fixture, node *softtpm.TPM, p *lk1.Push) {
			f.DeleteNode(ctx, node.NodeID().String())
			p.Who = node.NodeID().String()
		}, "it was deleted"},
		{"a volume that it does not ask for", func(_ *fixture, _ *softtpm.TPM, p *lk1.Push) { p.Volumes = []kms.UUID{data} }, "it does not ask for volume"},
		{"a part of its id", func(_ *fixture, node *softtpm.TPM, p *lk1.Push) { p.Who = node.NodeID().String()[:12] }, "give all six words"},
		{"no passphrase", func(_ *fixture, _ *softtpm.TPM, p *lk1.Push) { p.Passphrase = secret.Bytes{} }, "the passphrase has 0 bytes"},
		{"a long passphrase", func(_ *fixture, _ *softtpm.TPM, p *lk1.Push) { p.Passphrase = secret.Make(513) }, "the passphrase has 513 bytes"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newKMS(t, inMemory)
				node := f.waits()
				p := lk1.Push{Who: node.NodeID().Words(), Seen: f.seen(node), Passphrase: secret.Own([]byte(recovery))}
				row.change(f, node, &p)
				if _, err := f.Push(ctx, p); err == nil || !strings.Contains(err.Error(), row.want) {
					t.Errorf("Push = %v, want %s", err, row.want)
				}
			})
		})
	}
}

func (f *fixture) seen(node *softtpm.TPM) string {
	f.t.Helper()
	n, err := f.Node(node.NodeID().String())
	if err != nil {
		f.t.Fatal(err)
	}
	return n.Seen
}
