package ledger_test

import (
	"testing"

	"latchkey/kms/ledger"
)

// D28: a backup has what a server wrote if it has come as far as that server
// had, whatever the others wrote meanwhile.
func TestBackedUp(t *testing.T) {
	c := newCrew(t)
	one, two := c.join(), c.join()
	step := func(l *ledger.Ledger) (s ledger.Step) {
		t.Helper()
		err := l.Update(t.Context(), func(tx *ledger.Txn) error {
			tx.Bump()
			s = tx.Step()
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	backed := func(s ledger.Step) (yes bool) {
		t.Helper()
		err := one.Read(func(v ledger.View) (err error) { yes, err = v.BackedUp(s); return err })
		if err != nil {
			t.Fatal(err)
		}
		return yes
	}
	before := step(one)
	if backed(before) {
		t.Error("there is no backup, and it has a step")
	}
	at, err := one.Position()
	if err != nil {
		t.Fatal(err)
	}
	after := step(two)
	step(one)
	if err := two.NoteBackup(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	if !backed(before) || backed(after) || backed(step(one)) {
		t.Errorf("the backup has the step before it: %t, that of another server after it: %t", backed(before), backed(after))
	}
	gone := ledger.Step{Server: "01020304", Change: 1, Epoch: before.Epoch - 1}
	if !backed(gone) {
		t.Error("a step of a server that is gone is not in a backup of a later epoch")
	}
	if gone.Epoch = at.Epoch; backed(gone) {
		t.Error("a step of a server that is gone is in a backup of the same epoch")
	}
	if _, err := one.Check(); err != nil {
		t.Error(err)
	}
}
