package terms

import (
	"context"
	"net/netip"
	"strings"

	"latchkey/kms"
	"latchkey/kms/admin"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/policy"
)

// A Sight is which machines somebody sees who administers. The zero Sight
// sees all.
type Sight struct {
	reach admin.Reach
	rules *policy.Policy
}

// SightOf is the sight of who administers in a context.
func SightOf(ctx context.Context, r Rules) Sight {
	if reach := admin.ReachOf(ctx); !reach.Whole() {
		return Sight{reach, r.Rules()}
	}
	return Sight{}
}

// A Machine is what a sight goes by.
type Machine struct {
	Labels map[string]string
	State  fleet.State
	From   string // address that it asked from last
}

// Whole tells whether all machines are seen, and all that is no machine's.
func (s Sight) Whole() bool { return s.reach.Whole() }

// Sees tells whether somebody sees a machine: it has a label of their reach,
// or it waits to be taken in.
func (s Sight) Sees(m Machine) bool {
	return s.Whole() || s.reach.By(m.Labels) != "" || s.TakesIn(m) != ""
}

// TakesIn is the label that a machine gets when it is approved by who sees it
// because of the network that it asks from: no label says yet whose it is, it
// waits, and the policy has that network for a group of the reach. Empty: none.
func (s Sight) TakesIn(m Machine) string {
	if s.Whole() || m.State != fleet.Pending || s.reach.Owned(m.Labels) {
		return ""
	}
	from, err := netip.ParseAddr(m.From)
	if err != nil {
		return ""
	}
	for _, label := range s.reach {
		key, value, _ := strings.Cut(label, "=")
		if policy.Covers(s.rules.NetworksOf(key, value), from) {
			return label
		}
	}
	return ""
}

// Approve gives a machine that is approved the label that takes it in.
func (s Sight) Approve(m Machine, t *policy.Terms) {
	label := s.TakesIn(m)
	if label == "" {
		return
	}
	key, value, _ := strings.Cut(label, "=")
	labels := map[string]string{key: value}
	for k, v := range t.Labels {
		labels[k] = v
	}
	t.Labels = labels
}

// nameLabel is the label that is a machine's name.
const nameLabel = "name"

// names refuses a new name by which another machine may be known: a stop of
// that one would stop this one. Digits of an id are nobody's name. Words are
// names of rooms, too, and a name goes before the words of a stranger; but who
// is bounded does not see whose words they are.
func (s Sight) names(before, after string) error {
	isID := len(after) >= 8 && !strings.ContainsFunc(after, func(r rune) bool { return !strings.ContainsRune("0123456789abcdefABCDEF", r) })
	switch {
	case after == before:
		return nil
	case isID:
		return fleet.Refuse("the name " + after + " looks like the id of a machine: take another")
	case !s.Whole() && kms.AreWords(after):
		return fleet.Refuse("the name " + after + " is of words that machines are known by: add something to it")
	}
	return nil
}

// Waits is the address that a machine waits at; the zero address if it does not
// wait.
func (m Machine) Waits() netip.Addr {
	from, err := netip.ParseAddr(m.From)
	if err != nil || m.State != fleet.Pending {
		return netip.Addr{}
	}
	return from
}

// Keeps refuses a change of labels that takes a machine in or out of reach:
// whose it is, is for who administers all machines. It refuses names that are
// taken for another machine, too.
func (s Sight) Keeps(before, after Machine) error {
	if err := s.names(before.Labels[nameLabel], after.Labels[nameLabel]); err != nil {
		return err
	}
	was, is := s.reach.By(before.Labels) != "", s.reach.By(after.Labels) != ""
	if s.Whole() || was == is && s.Sees(after) {
		return nil
	}
	return fleet.Refuse("these labels say whose the machine is: you administer " + s.reach.String() + ", and only who administers all machines takes one in or out")
}
