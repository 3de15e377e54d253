package server_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"latchkey/kms/admin"
	"latchkey/kms/ledger"
	"latchkey/kms/server/policy"
)

// D69: a machine gets no name by which another is known: who stops that one
// would stop this one. Words are rooms' names, too, for who sees all machines.
func TestReachNames(t *testing.T) {
	l := newReach(t)
	oslo := l.bounded("oslo", admin.ScopeAdmin, "site=oslo")
	id, other := l.oslo.node.NodeID().String(), l.cairns.waiting.NodeID()
	first, _, _ := strings.Cut(other.Words(), " ")
	for name, want := range map[string]int{
		other.String()[:16]:                 http.StatusConflict,
		strings.ToUpper(other.String()[:8]): http.StatusConflict,
		first:                               http.StatusConflict,
		strings.ReplaceAll(other.Words(), " ", "-"): http.StatusConflict,
		first + "-1": http.StatusOK,
		"face":       http.StatusOK, // four digits are no id
	} {
		if status, text := l.asks("POST", "/v1/node/set?who="+id, oslo, `{"labels":{"name":"`+name+`"}}`); status != want {
			t.Errorf("the name %q: status %d, %s; want %d", name, status, text, want)
		}
	}
	if _, err := l.SetNode(ctx, id, policy.Change{Labels: map[string]string{"name": other.String()[:16]}}); !errors.Is(err, ledger.ErrRefused) {
		t.Errorf("an id as a name, by who sees all: %v", err)
	}
	if _, err := l.SetNode(ctx, id, policy.Change{Labels: map[string]string{"name": first}}); err != nil {
		t.Errorf("a word as a name, by who sees all: %v", err)
	}
	if status, text := l.asks("POST", "/v1/node/set?who="+id, oslo, `{"labels":{"rack":"b2"}}`); status != http.StatusOK {
		t.Errorf("another label of a machine that has a word for a name: status %d, %s", status, text)
	}
}

// D70: a list of labels without one is no bound, so it is refused.
func TestTokenWithoutLabels(t *testing.T) {
	l := newReach(t)
	if _, err := l.CreateToken(ctx, admin.NewToken{Name: "anna", Scope: admin.ScopeRead, Expires: time.Now().Add(time.Hour), Labels: admin.Reach{}}); err == nil || !strings.Contains(err.Error(), "an empty list of labels") {
		t.Errorf("CreateToken with an empty list of labels = %v", err)
	}
}
