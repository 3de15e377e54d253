package lk1

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/ekcert"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/policy"
)

// A digest is 32 bytes that people read as hex.
type digest = policy.Digest

type clock = policy.Clock

// nodeRow is one node, by the hash of its EK. Names are attributes.
type nodeRow struct {
	ID          kms.NodeID        `json:"id"`
	State       fleet.State       `json:"state"`
	Quarantined bool              `json:"quarantined,omitempty"` // wins over everything but deleted
	First       time.Time         `json:"first_seen"`
	Last        time.Time         `json:"last_seen"`
	Shown       *shown            `json:"shown,omitempty"` // the last verified proof
	Pins        map[int]digest    `json:"pins,omitempty"`
	Unmeasured  bool              `json:"unmeasured,omitempty"`  // the operator knows that nothing measures its initrd
	Awaits      bool              `json:"awaits_boot,omitempty"` // approved while its own system ran: its first boot waits for accept
	Takes       bool              `json:"takes_boot,omitempty"`  // so it was, and PCR 11 of its first boot is pinned
	Clock       clock             `json:"clock"`                 // of the last release
	Announced   *policy.Announced `json:"announced,omitempty"`   // its system said that its next boot will be another one
	Release     string            `json:"release,omitempty"`     // that it booted when it was last given its keys
	Rolled      *rolled           `json:"rolled,omitempty"`      // the release that its group was moved to when it booted that
	LastStatus  string            `json:"last_status,omitempty"`
	LastReason  policy.Rule       `json:"last_reason,omitempty"` // the rule that decided it, if one failed
	LastFrom    string            `json:"last_from,omitempty"`

	BootLog      *bootLog `json:"boot_log,omitempty"`      // of the last boot that was shown
	ApprovedBoot *bootLog `json:"approved_boot,omitempty"` // of the boot that Pins are of

	Certificate *ekcert.Certificate `json:"ek_certificate,omitempty"` // the last one that held

	policy.Terms
	presenceRow
	InBoot int     `json:"boot_releases,omitempty"`   // in the boot of Clock
	Recent []int64 `json:"recent_releases,omitempty"` // Unix seconds, of the last hour, while it has a limit
}

// shown is what a verified proof showed.
type shown struct {
	Operation string         `json:"operation"`
	Boot      bool           `json:"boot"` // in an unlocking boot, PCR 15 zero
	Volumes   []shownVolume  `json:"volumes"`
	PCRs      map[int]digest `json:"pcrs"`
	Clock     clock          `json:"clock"`
}

// digest tells one thing that was shown from another, briefly. A boot is the
// same as the one before, however often the TPM was reset.
func (s *shown) digest() string {
	if s == nil {
		return ""
	}
	same := *s
	same.Clock = clock{}
	text, err := json.Marshal(same)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// stillShows refuses what the operator did not look at: the node may have
// asked again meanwhile, from another kernel.
func (row *nodeRow) stillShows(seen string) error {
	if now := row.Shown.digest(); seen != "" && seen != now {
		return fleet.Refuse(fmt.Sprintf("it has shown something else since (%s, not %.20s): look at it again", now, seen))
	}
	return nil
}

type shownVolume struct {
	UUID   kms.UUID `json:"uuid"`
	Digest digest   `json:"header_digest"`
	SeqID  uint64   `json:"seqid"`
}

// volumeRow is one volume of one node, or of nobody yet.
type volumeRow struct {
	UUID   kms.UUID   `json:"uuid"`
	Node   kms.NodeID `json:"node"`
	Kind   kms.Kind   `json:"kind"`              // zero: no secret yet
	Digest *digest    `json:"header,omitempty"`  // expected header subset
	MAC    *digest    `json:"key_mac,omitempty"` // expected volume-key MAC
	MinSeq uint64     `json:"min_seqid"`
	Staged bool       `json:"staged"`
	Due    bool       `json:"due,omitempty"` // the node is to make and stage the next secret
	// Rotation tells the rotation that is under way from others of the volume.
	Rotation uint64 `json:"rotation,omitempty"`
	// SealedTo is the node whose TPM alone opens the secret, once the volume
	// was moved away from it: the owner stores another in its place.
	SealedTo kms.NodeID `json:"sealed_to,omitzero"`
	// Operator: the secret is the operator's, not one that a node stored.
	Operator bool `json:"operator,omitempty"`
	// StagedAt is when the next secret was stored; Proven: it was seen to open
	// the volume, and the rotation waits for a backup that has it.
	StagedAt ledger.Step `json:"staged_at,omitzero"`
	Proven   bool        `json:"proven,omitempty"`
	// Kept are the secrets that rotations replaced, the first one first.
	Kept []keptSecret `json:"kept,omitempty"`
	// Forget: this rotation keeps none of them.
	Forget bool `json:"forget,omitempty"`
	// Older: the disk was seen to be older than the last rotation, and has
	// not caught up.
	Older *older `json:"older,omitempty"`
	// Claimed: the node took the volume itself, and no operator has said so.
	Claimed bool      `json:"claimed,omitempty"`
	Created time.Time `json:"created"`
	Changed time.Time `json:"changed"`
}

// Key implements fleet.Row.
func (row nodeRow) Key() []byte { return row.ID[:] }

// Name implements fleet.Row.
func (row nodeRow) Name() string { return row.ID.String() }

// Standing implements fleet.Row.
// A node that was stopped before anybody approved it stays stopped however
// long it waits.
func (row nodeRow) Standing() fleet.State {
	if row.Quarantined && row.State == fleet.Pending {
		return "quarantined"
	}
	return row.State
}

// Waiting implements fleet.Row.
func (row nodeRow) Waiting() fleet.Waiter {
	return fleet.Waiter{First: row.First, Last: row.Last, From: row.LastFrom}
}

// nobody owns what was put before any node asked for it.
var nobody kms.NodeID

func volumeKey(node kms.NodeID, uuid kms.UUID) []byte { return append(node[:], uuid[:]...) }

// node finds a node, approved or not.
func (v view) node(id kms.NodeID) (nodeRow, bool, error) { return v.s.rows.fleet.Get(v.View, id[:]) }

func (t *txn) saveNode(row nodeRow) error { return t.s.rows.fleet.Put(t.Txn, row) }

// owner is the node that a volume is bound to.
func (v view) owner(uuid kms.UUID) (kms.NodeID, bool, error) {
	var id kms.NodeID
	found, err := v.Load(tableOwners, uuid[:], &id)
	return id, found, err
}

func (v view) volume(node kms.NodeID, uuid kms.UUID) (volumeRow, bool, error) {
	var row volumeRow
	found, err := v.Load(tableVolumes, volumeKey(node, uuid), &row)
	return row, found, err
}

func (t *txn) saveVolume(row volumeRow) error {
	row.Changed = time.Now().UTC()
	return t.Save(tableVolumes, volumeKey(row.Node, row.UUID), row)
}

// dropVolume removes a volume's row and destroys its secrets.
func (t *txn) dropVolume(node kms.NodeID, uuid kms.UUID) error {
	key := volumeKey(node, uuid)
	row, _, err := t.volume(node, uuid)
	if err == nil {
		err = t.forgetKept(&row, len(row.Kept))
	}
	if err != nil {
		return err
	}
	for _, state := range []byte{active, staged} {
		if err := t.Remove(tableSecrets, secretKey(key, state)); err != nil {
			return err
		}
	}
	return t.Remove(tableVolumes, key)
}

// rename gives a volume with its secrets to another node. Those that
// rotations replaced stay behind.
func (t *txn) rename(row volumeRow, to kms.NodeID) (volumeRow, error) {
	if err := t.forgetKept(&row, len(row.Kept)); err != nil {
		return row, err
	}
	from, key := volumeKey(row.Node, row.UUID), volumeKey(to, row.UUID)
	for _, state := range []byte{active, staged} {
		kind, s, err := t.loadSecret(from, state)
		if err != nil {
			return row, err
		}

		if kind == 0 {
			continue
		}
		err = t.saveSecret(key, state, kind, s)
		s.Wipe()
		if err != nil {
			return row, err
		}
	}

	if err := t.dropVolume(row.Node, row.UUID); err != nil {
		return row, err
	}
	row.pass(to)
	return row, t.saveVolume(row)
}

// pass gives the row to another node. A secret that a TPM sealed is kept for
// the case that the move is undone.
func (row *volumeRow) pass(to kms.NodeID) {
	if row.Kind == kms.Bound && row.SealedTo == nobody {
		row.SealedTo = row.Node
	}
	if row.SealedTo == to {
		row.SealedTo = nobody
	}
	row.Node = to
}

// usable tells whether the row has a secret that is of use to its node.
func (row *volumeRow) usable() bool { return row.Kind != 0 && row.SealedTo == nobody }
