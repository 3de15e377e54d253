package keeper

import (
	"net/netip"
	"slices"
	"time"

	"latchkey/kms"
	"latchkey/kms/front"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/talos"
)

// machine is one machine of Talos, by the UUID that it says it has.
type machine struct {
	UUID       kms.UUID             `json:"uuid"`
	State      fleet.State          `json:"state"`
	Stopped    bool                 `json:"quarantined,omitempty"`
	Sources    []netip.Prefix       `json:"sources,omitempty"` // if any: only from there
	First      time.Time            `json:"first_seen"`
	Last       time.Time            `json:"last_seen"`
	From       netip.Addr           `json:"from"` // where it was served last, or where it waits
	LastStatus string               `json:"last_status,omitempty"`
	Keys       map[uint32]time.Time `json:"keys,omitempty"`            // versions of the ring, when used last
	LastReason policy.Rule          `json:"last_reason,omitempty"`     // the rule of the policy that refused, if one did
	Blobs      map[string][]int64   `json:"recent_releases,omitempty"` // by blob, in Unix seconds, of the last hour, while it has a limit

	policy.Terms
}

// Key implements fleet.Row.
func (row machine) Key() []byte { return row.UUID[:] }

// Name implements fleet.Row.
func (row machine) Name() string { return row.UUID.String() }

// Standing implements fleet.Row.
func (row machine) Standing() fleet.State { return row.State }

// Waiting implements fleet.Row.
func (row machine) Waiting() fleet.Waiter {
	return fleet.Waiter{First: row.First, Last: row.Last, From: row.From.String()}
}

func (row *machine) use(version uint32) {
	if row.Keys == nil {
		row.Keys = map[uint32]time.Time{}
	}
	row.Keys[version] = time.Now().UTC()
}

// judge says why not. Deny wins.
func (row *machine) judge(o Options, a talos.Ask) string {
	within := func(all []netip.Prefix) bool { return len(all) == 0 || front.Contains(all, a.From) }
	switch {
	case row.State == fleet.Deleted:
		return "deleted"
	case row.Stopped:
		return "quarantined"
	case len(o.Allow) > 0 && !slices.Contains(o.Allow, a.UUID):
		return "not in the allow list"
	case row.State == fleet.Pending:
		return "pending"
	case !within(o.Sources) || !within(row.Sources):
		return "from an address where it may not be"
	}
	return ""
}

// admit makes a row for a UUID seen for the first time, or says why
// not.
func (k *Keeper) admit(t *ledger.Txn, o Options, a talos.Ask) (machine, string, error) {
	row := machine{UUID: a.UUID, State: fleet.Pending, First: time.Now().UTC(), From: a.From}
	listed := slices.Contains(o.Allow, a.UUID)
	switch {
	case len(o.Allow) > 0 && !listed:
		return row, "not in the allow list", nil
	case len(o.Sources) > 0 && !front.Contains(o.Sources, a.From):
		return row, "from an address where it may not be", nil
	case listed, o.Enroll == fleet.Tofu && k.rows.fleet.Tofu(t.View):
		row.State = fleet.Approved
		t.Bump()
		return row, "", nil
	case o.Enroll == fleet.Closed:
		return row, "not enrolled", nil
	}

	full, err := k.rows.fleet.Full(t, k.c.Ledger.Now(), row, func(key []byte) error { return k.rows.fleet.Drop(t, key) })
	if full {
		return row, "pending, and too many others are", err
	}
	return row, "", err
}

// usedLately is how long after its last use a version counts as used.
const usedLately = 30 * 24 * time.Hour

// users counts the machines that used each version lately.
func (r *Rows) users(v ledger.View) (map[uint32]int, error) {
	users := map[uint32]int{}
	err := r.fleet.Known(v, func(row machine) error {
		for version, at := range row.Keys {
			if row.State == fleet.Approved && time.Since(at) < usedLately {
				users[version]++
			}
		}
		return nil
	})
	return users, err
}
