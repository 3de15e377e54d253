package server

import (
	"net/netip"
	"slices"
	"time"

	"latchkey/kms"
	"latchkey/kms/front"
	"latchkey/kms/server/talos"
)

// talosRow is one machine of Talos, by the UUID that it says it has.
type talosRow struct {
	UUID       kms.UUID             `json:"uuid"`
	State      nodeState            `json:"state"`
	Stopped    bool                 `json:"quarantined,omitempty"`
	Sources    []netip.Prefix       `json:"sources,omitempty"` // if any: only from there
	First      time.Time            `json:"first_seen"`
	Last       time.Time            `json:"last_seen"`
	From       netip.Addr           `json:"from"` // where it was served last, or where it waits
	LastStatus string               `json:"last_status,omitempty"`
	Keys       map[uint32]time.Time `json:"keys,omitempty"` // versions of the ring, when used last
}

func (row *talosRow) use(version uint32) {
	if row.Keys == nil {
		row.Keys = map[uint32]time.Time{}
	}
	row.Keys[version] = time.Now().UTC()
}

// judge says why not. Deny wins.
func (row *talosRow) judge(o TalosOptions, a talos.Ask) string {
	within := func(all []netip.Prefix) bool { return len(all) == 0 || front.Contains(all, a.From) }
	switch {
	case row.State == stateDeleted:
		return "deleted"
	case row.Stopped:
		return "quarantined"
	case len(o.Allow) > 0 && !slices.Contains(o.Allow, a.UUID):
		return "not in the allow list"
	case row.State == statePending:
		return "pending"
	case !within(o.Sources) || !within(row.Sources):
		return "from an address where it may not be"
	}
	return ""
}

// talosAdmit makes a row for a UUID seen for the first time, or says why
// not.
func (s *Server) talosAdmit(t *txn, o TalosOptions, a talos.Ask) (talosRow, string, error) {
	row := talosRow{UUID: a.UUID, State: statePending, First: time.Now().UTC(), From: a.From}
	listed := slices.Contains(o.Allow, a.UUID)
	switch {
	case len(o.Allow) > 0 && !listed:
		return row, "not in the allow list", nil
	case len(o.Sources) > 0 && !front.Contains(o.Sources, a.From):
		return row, "from an address where it may not be", nil
	case listed, o.Enroll == Tofu && t.count(tableTalosNodes, maxTofu) < maxTofu:
		row.State = stateApproved
		t.bump()
		return row, "", nil
	case o.Enroll == Closed:
		return row, "not enrolled", nil
	}

	full, err := s.pruneTalos(t)
	if full {
		return row, "pending, and too many others are", err
	}
	return row, "", err
}

func (s *Server) pruneTalos(t *txn) (full bool, err error) {
	rows := func() (all []waiter, err error) {
		return all, t.talosIn(tableTalosPending, func(row talosRow) { all = append(all, waiter{row.UUID[:], row.First, row.Last}) })
	}
	return s.talosPending.prune(t, s.cookies.now(), tableTalosPending, rows, func(key []byte) error { return t.remove(tableTalosPending, key) })
}

func (v view) talosNode(uuid kms.UUID) (row talosRow, found bool, err error) {
	for _, table := range []string{tableTalosNodes, tableTalosPending} {
		if found, err = v.load(table, uuid[:], &row); found || err != nil {
			return row, found, err
		}
	}
	return row, false, nil
}

// saveTalos puts a row where its state belongs.
func (t *txn) saveTalos(row talosRow) error {
	if row.State == statePending {
		return t.save(tableTalosPending, row.UUID[:], row)
	}
	if err := t.remove(tableTalosPending, row.UUID[:]); err != nil {
		return err
	}
	return t.save(tableTalosNodes, row.UUID[:], row)
}

func (v view) talosIn(table string, f func(talosRow)) (err error) {
	v.Scan(table, nil, func(key, _ []byte) bool {
		var row talosRow
		if _, err = v.load(table, key, &row); err == nil {
			f(row)
		}
		return err == nil
	})
	return err
}

// usedLately is how long after its last use a version counts as used.
const usedLately = 30 * 24 * time.Hour

// ringUsers counts the machines that used each version lately.
func (v view) ringUsers(r ring) (map[uint32]int, error) {
	users := map[uint32]int{}
	if r != ringTalos {
		return users, nil
	}
	err := v.talosIn(tableTalosNodes, func(row talosRow) {
		for version, at := range row.Keys {
			if row.State == stateApproved && time.Since(at) < usedLately {
				users[version]++
			}
		}
	})
	return users, err
}
