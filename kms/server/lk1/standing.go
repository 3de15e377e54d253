package lk1

import (
	"slices"

	"latchkey/kms"
	"latchkey/kms/server/fleet"
)

// A Standing is what there is of a volume that a node asks for.
type Standing string

const (
	// Free is a volume that nobody has and nobody else asks for: binding it
	// gives the node nothing but its own.
	Free Standing = "free"
	// Own is a volume that is the node's.
	Own Standing = "own"
	// Owned is a volume of another node.
	Owned Standing = "owned"
	// Stored is a volume whose secret the operator put.
	Stored Standing = "stored"
	// Deleted is a volume that was deleted, and may be undeleted.
	Deleted Standing = "deleted"
	// Contested is a volume that another node that waits asks for, too.
	Contested Standing = "contested"
)

// An Asked is a volume that a node asks for.
type Asked struct {
	UUID     kms.UUID `json:"uuid"`
	Standing Standing `json:"standing"`
	Others   []string `json:"others,omitempty"` // words of its owner, or of who else asks

	owner   kms.NodeID
	foreign bool // not for who administers, whatever it is
}

// rivals are the nodes that wait and ask for a volume, for each volume.
type rivals map[kms.UUID][]kms.NodeID

// rivals are looked for before a transaction: it is a look at all nodes that
// wait.
func (s *Service) rivals() (r rivals, err error) {
	err = s.read(func(v view) error { r, err = v.rivals(); return err })
	return r, err
}

func (v view) rivals() (rivals, error) {
	r := rivals{}
	err := v.s.rows.fleet.Waiting(v.View, func(row nodeRow) error {
		for _, uuid := range v.wanted(row) {
			r[uuid] = append(r[uuid], row.ID)
		}
		return nil
	})
	return r, err
}

// rivalsOf are the rivals of a node that would take a volume by itself. It is
// a look at all that wait, which a stranger does not cause.
func (v view) rivalsOf(p *proof) (rivals, error) {
	row, _, err := v.node(p.node)
	if err != nil || row.State != fleet.Approved && v.s.enroll != fleet.Tofu || p.operation == kms.Stage || p.operation == kms.Recovery || p.operation == kms.Get && row.State == fleet.Approved {
		return nil, err
	}
	for _, want := range p.volumes {
		if _, bound, err := v.owner(want.UUID); err != nil || !bound {
			return v.rivals()
		}
	}
	return nil, nil
}

// wanted are the volumes that a node showed last or proposed, each once.
func (v view) wanted(row nodeRow) []kms.UUID {
	uuids := v.uuidsOf(row.ID)
	if row.Shown != nil {
		for _, shown := range row.Shown.Volumes {
			if !slices.Contains(uuids, shown.UUID) {
				uuids = append(uuids, shown.UUID)
			}
		}
	}
	return uuids
}

// others are the nodes beside one that ask for a volume.
func (r rivals) others(node kms.NodeID, uuid kms.UUID) (words []string) {
	for _, id := range r[uuid] {
		if id != node {
			words = append(words, id.Words())
		}
	}
	return words
}

// asked says how a volume stands that a node asks for, to who administers.
func (v view) asked(node kms.NodeID, uuid kms.UUID, r rivals) (Asked, error) {
	a, err := v.stands(node, uuid, r)
	if err != nil {
		return a, err
	}
	return v.discreet(a, r, node)
}

func (v view) stands(node kms.NodeID, uuid kms.UUID, r rivals) (Asked, error) {
	a := Asked{UUID: uuid, Standing: Free}
	if v.Has(graves.Table, graves.At(uuid[:])) {
		a.Standing = Deleted
		return a, nil
	}
	owner, bound, err := v.owner(uuid)
	if err != nil {
		return a, err
	}
	switch {
	case bound && owner == node:
		a.Standing = Own
		return a, nil
	case bound:
		a.Standing, a.owner, a.Others = Owned, owner, []string{owner.Words()}
		return a, nil
	}

	stored, found, err := v.volume(nobody, uuid)
	if found && stored.Kind != 0 {
		a.Standing = Stored
	} else if a.Others = r.others(node, uuid); len(a.Others) > 0 {
		a.Standing = Contested
	}
	return a, err
}

// asks are the volumes that a node asks for and does not have, as they stand.
func (v view) asks(row nodeRow, r rivals) (asks []Asked, err error) {
	for _, uuid := range v.wanted(row) {
		a, err := v.asked(row.ID, uuid, r)
		if err != nil {
			return asks, err
		}
		if a.Standing != Own {
			asks = append(asks, a)
		}
	}
	return asks, nil
}
