package lk1

import (
	"context"
	"fmt"
	"slices"

	"latchkey/kms"
	"latchkey/kms/admin"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/terms"
)

// machine is what a sight goes by.
func (row *nodeRow) machine() terms.Machine {
	return terms.Machine{Labels: row.Labels, State: row.State, From: row.LastFrom}
}

// theirs are the nodes that who administers sees: what the operator's routes
// find and list.
func (v view) theirs() fleet.Part[nodeRow] {
	if v.sight.Whole() {
		return v.s.rows.fleet.Part(nil)
	}
	return v.s.rows.fleet.Part(func(row *nodeRow) bool { return v.sight.Sees(row.machine()) })
}

// nodes tells of which nodes who administers sees what they have. What nobody
// has is for who administers all machines.
func (v view) nodes() func(kms.NodeID) (bool, error) {
	known := map[kms.NodeID]bool{}
	return func(id kms.NodeID) (bool, error) {
		if v.sight.Whole() {
			return true, nil
		}
		if yes, asked := known[id]; asked {
			return yes, nil
		}
		_, found, err := v.theirs().Get(v.View, id[:])
		known[id] = found
		return found, err
	}
}

// mine is an error unless the node that has a volume, or had it until it was
// deleted, is one that who administers sees.
func (v view) mine(uuid kms.UUID) error {
	if v.sight.Whole() {
		return nil
	}
	owner, bound, err := v.owner(uuid)
	if err != nil {
		return err
	}
	if !bound {
		_, nodes, err := v.deletion(uuid)
		if err != nil {
			return err
		}
		owner = nobody
		if len(nodes) > 0 {
			owner = nodes[0]
		}
	}
	yes, err := v.nodes()(owner)
	if err == nil && !yes {
		err = noVolume(uuid)
	}
	return err
}

// noVolume is a volume that there is not.
func noVolume(uuid kms.UUID) error {
	return fmt.Errorf("looking for volume %s: %w", uuid, ledger.ErrNotFound)
}

// discreet takes out of what is said of a volume that a node asks for what is
// not for who does not administer all machines. What another has, what was put
// for no machine, and what was deleted as another's are one and the same to
// them: not to be had.
func (v view) discreet(a Asked, r rivals, node kms.NodeID) (Asked, error) {
	if v.sight.Whole() {
		return a, nil
	}
	sees := v.nodes()
	switch a.Standing {
	case Contested:
		a.Others = nil
		for _, id := range r[a.UUID] {
			yes, err := sees(id)
			if err != nil {
				return a, err
			}
			if yes && id != node {
				a.Others = append(a.Others, id.Words())
			}
		}
		return a, nil
	case Owned, Stored, Deleted:
	default:
		return a, nil
	}
	if err := v.mine(a.UUID); err == nil {
		return a, nil
	}
	return Asked{UUID: a.UUID, Standing: Owned, foreign: true}, nil
}

// Sees tells which nodes, by the names of their rows, who administers sees.
func (s *Service) Sees(ctx context.Context, v ledger.View) func(node string) (bool, error) {
	one := s.view(v)
	one.sight = terms.SightOf(ctx, s)
	sees := one.nodes()
	return func(node string) (bool, error) {
		id, err := kms.ParseNodeID(node)
		if err != nil {
			return false, nil // no node of lk1
		}
		return sees(id)
	}
}

// asksFor refuses a volume that a node neither showed nor proposed, to who does
// not administer all machines: it may be another's.
func (v view) asksFor(row nodeRow, uuid kms.UUID) error {
	if v.sight.Whole() || slices.Contains(v.wanted(row), uuid) {
		return nil
	}
	return fmt.Errorf("binding volume %s: %w: the machine does not ask for it, and you administer only some machines", uuid, ledger.ErrRefused)
}

// reaches tells whether a node is in a reach now. What is no node is not for
// this service to say: terms.Decision ends words about machines whose labels
// change.
func (v view) reaches(r admin.Reach, id kms.NodeID) bool {
	if r.Whole() {
		return true
	}
	row, found, err := v.node(id)
	return err == nil && (!found || terms.SightOf(admin.Reaches(context.Background(), r), v.s).Sees(row.machine()))
}
