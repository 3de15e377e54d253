package operator_test

import (
	"context"
	"testing"

	"latchkey/kms/ledger"
	"latchkey/kms/operator"
)

func TestWho(t *testing.T) {
	for uid, want := range map[int]string{
		0:             "operator uid 0 (root)",
		2_147_483_647: "operator uid 2147483647", // nobody's number: the number is what counts
	} {
		if got := operator.Who(uid); got != want {
			t.Errorf("Who(%d) = %q, want %q", uid, got, want)
		}
	}
	if got := ledger.Who(operator.Here(context.Background())); got == "operator" {
		t.Errorf("who administers here is %q, want a user", got)
	}
}
