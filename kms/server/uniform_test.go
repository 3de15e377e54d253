package server_test

import (
	"context"
	"testing"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/softtpm"
	"latchkey/kms/store"
)

// counting counts what is asked of the store.
type counting struct {
	store.Store
	views, updates int
}

func (c *counting) View(f func(store.Reader) error) error {
	c.views++
	return c.Store.View(f)
}

func (c *counting) Update(ctx context.Context, f func(store.Tx) error) error {
	c.updates++
	return c.Store.Update(ctx, f)
}

// D9: from outside, who is enrolled and why somebody is refused does not
// show: the same sizes, the same steps.
func TestAnswersLookAlike(t *testing.T) {
	count := &counting{}
	f := newKMS(t, func(f *fixture) {
		f.wrap = func(st store.Store) store.Store {
			count.Store = st
			return count
		}
	})

	node := f.approved()
	quarantined, deleted, changed := newTPM(t), newTPM(t), newTPM(t)
	for _, n := range []*softtpm.TPM{quarantined, deleted, changed} {
		f.approve(n, data)
	}
	if _, err := f.SetQuarantine(ctx, quarantined.NodeID().String(), true); err != nil {
		t.Fatal(err)
	}

	if _, err := f.DeleteNode(ctx, deleted.NodeID().String()); err != nil {
		t.Fatal(err)
	}
	changed.PCRs[7] = [32]byte{1}
	type look struct{ m2, m4, views, updates int }
	var want look

	for i, row := range []struct {
		name   string
		prover kms.Prover
		code   string
	}{
		{"granted", node, ""},
		{"unknown", newTPM(t), "pending"},
		{"quarantined", quarantined, "quarantined"},
		{"deleted", deleted, "refused"},
		{"other boot state", changed, "pcr-mismatch"},
		{"not its volume", changed, "pcr-mismatch"},
		{"challenge not opened", forger{TPM: node, opened: forget}, kms.CodeNoGrant},
	} {
		w := f.through(&wire{})
		before := *count
		_, err := f.get(row.prover)
		if code(err) != row.code {
			t.Fatalf("%s: Get = %v, want code %q", row.name, err, row.code)
		}

		got := look{len(w.bodies[1]), len(w.bodies[3]), count.views - before.views, count.updates - before.updates}
		if row.code == kms.CodeNoGrant {
			got.views++
			got.updates++ // nothing to record; the sender holds no cookie's secret, so learns nothing from it
		}
		if i == 0 {
			want = got
		}

		if got != want {
			t.Errorf("%s looks like %+v, a grant like %+v", row.name, got, want)
		}
	}

	if want.m4 != kms.AnswerSize(1) {
		t.Errorf("an answer has %d bytes, AnswerSize says %d", want.m4, kms.AnswerSize(1))
	}
}

// A closed KMS refuses the unknown with the looks of a grant.
func TestClosedLooksAlike(t *testing.T) {
	f := newKMS(t, closed)
	w := f.through(&wire{})
	if _, err := f.get(newTPM(t)); code(err) != "refused" {
		t.Fatal(err)
	}
	if len(w.bodies[3]) != kms.AnswerSize(1) {
		t.Errorf("a refusal has %d bytes, want %d", len(w.bodies[3]), kms.AnswerSize(1))
	}
	if n := len(f.log()); n != 1 {
		t.Errorf("an unknown node filled the log to %d events, want 1: the start", n)
	}
}

// forget opens the challenge wrongly.
func forget(secret.Bytes) secret.Bytes { return secret.Random(32) }
