package lk1

import (
	"slices"
	"time"

	"latchkey/kms"
	"latchkey/kms/ledger"
)

// A secret that a rotation replaced is kept for a while: a disk that was
// restored from a backup of before has no keyslot for another. The header's
// seqid tells which secret a disk has: it rises with each change, and a
// rotation ends at one. To a disk of before, the KMS gives what it was rotated
// away from as the active secret, and the active one as the staged one: so its
// machine opens it, and rotates it anew.

// maxKept is how many secrets are kept of one volume; the oldest goes first.
const maxKept = 4

// firstKept is the first of their states, behind active and staged.
const firstKept = staged + 1

// A keptSecret is one that a rotation replaced.
type keptSecret struct {
	State    byte      `json:"state"`        // under which it is sealed
	Before   uint64    `json:"before_seqid"` // headers that have a lower seqid open with it
	Replaced time.Time `json:"replaced"`
	Until    time.Time `json:"until"` // then it is destroyed
}

// An older is a disk that was seen to be older than its last rotation.
type older struct {
	Seen     time.Time `json:"seen"`
	Replaced time.Time `json:"replaced"` // when the secret that opens it was
}

// keptGraves are of secrets that were replaced, by UUID ‖ state; what is kept
// there is the node.
var keptGraves = &ledger.Graveyard{Table: tableOwners, Mine: isKept, Event: "volume forget", Destroy: destroyKept}

func isKept(key []byte) bool { return len(key) == len(kms.UUID{})+1 }

func keptKey(uuid kms.UUID, state byte) []byte { return append(uuid[:], state) }

// SetKeepSecrets says how long a secret is kept that a rotation replaces; 0:
// not at all.
func (s *Service) SetKeepSecrets(d time.Duration) { s.keepSecrets.Store(int64(d)) }

// retain keeps the active secret, which another one is about to replace.
// Before is the header's seqid of that.
func (t *txn) retain(row *volumeRow, before uint64) error {
	keep := time.Duration(t.s.keepSecrets.Load())
	if row.Forget || keep <= 0 {
		if !row.Forget {
			return nil
		}
		row.Forget = false
		return t.forgetKept(row, len(row.Kept))
	}
	if len(row.Kept) >= maxKept {
		if err := t.forgetKept(row, 1); err != nil {
			return err
		}
	}
	key, state := volumeKey(row.Node, row.UUID), row.freeState()
	kind, s, err := t.loadSecret(key, active)
	defer s.Wipe()
	if err != nil || kind == 0 {
		return err
	}
	if err := t.saveSecret(key, state, kind, s); err != nil {
		return err
	}
	now := t.s.ledger.Wall().UTC()
	row.Kept = append(row.Kept, keptSecret{state, before, now, now.Add(keep)})
	return t.BuryFor(keptGraves, keptKey(row.UUID, state), row.Node[:], "rotation", keep)
}

// freeState is a state that no kept secret has.
func (row *volumeRow) freeState() byte {
	state := byte(firstKept)
	for slices.ContainsFunc(row.Kept, func(k keptSecret) bool { return k.State == state }) {
		state++
	}
	return state
}

// forgetKept destroys the n secrets that were replaced first.
func (t *txn) forgetKept(row *volumeRow, n int) error {
	key := volumeKey(row.Node, row.UUID)
	for _, k := range row.Kept[:n] {
		if err := t.Remove(tableSecrets, secretKey(key, k.State)); err != nil {
			return err
		}
		if err := t.Unbury(keptGraves, keptKey(row.UUID, k.State)); err != nil {
			return err
		}
	}
	if row.Kept = slices.Clone(row.Kept[n:]); len(row.Kept) == 0 {
		row.Kept, row.Older = nil, nil
	}
	return nil
}

// opens is the kept secret that opens a disk whose header has a seqid; nil: it
// is not older than the last rotation.
func (row *volumeRow) opens(seqID uint64) *keptSecret {
	for i, k := range row.Kept { // the one replaced first is that of the oldest headers
		if seqID < k.Before {
			return &row.Kept[i]
		}
	}
	return nil
}

// grantOlder gives what a disk of before a rotation needs, if it is one.
func (t *txn) grantOlder(p *proof, i int, row volumeRow, g *kms.Granted) (given bool, err error) {
	k := row.opens(p.volumes[i].SeqID)
	if k == nil {
		return false, nil
	}
	key := volumeKey(row.Node, row.UUID)
	for state, to := range map[byte]*kms.Material{k.State: &g.Active, active: &g.Staged} {
		kind, s, err := t.loadSecret(key, state)
		if err != nil {
			return false, err
		}
		*to = kms.Material{Kind: kms.Kind(kind), Secret: s}
	}
	p.rotations[i] = row.anew()
	row.Older = &older{t.s.ledger.Wall().UTC(), k.Replaced}
	if err := t.saveVolume(row); err != nil {
		return false, err
	}
	return true, t.Note(ledger.Event{
		Event: "volume older", Node: row.Node.String(), Volumes: []kms.UUID{row.UUID},
		Detail: "it is given the secret of before " + k.Replaced.Format(time.RFC3339) + ": the disk is older than that rotation, as one that was restored",
	})
}

// anew tells a report of a disk that is rotated anew from one of the rotation
// that is under way, if one is.
func (row *volumeRow) anew() uint64 { return ^row.Rotation }

// catches tells whether a result is that a disk of before a rotation has a
// keyslot for the active secret now.
func (row *volumeRow) catches(want kms.Want, r kms.Result, rotation uint64) bool {
	if r.Outcome != kms.OpenedStaged || rotation != row.anew() || row.opens(want.SeqID) == nil {
		return false
	}
	return r.SeqID > row.MinSeq || slices.ContainsFunc(row.Kept, func(k keptSecret) bool { return r.SeqID < k.Before })
}

// caughtUp records it: from that header on the active secret opens it.
func (row *volumeRow) caughtUp(seqID uint64) {
	for i := range row.Kept {
		row.Kept[i].Before = min(row.Kept[i].Before, seqID)
	}
	row.MinSeq, row.Older = max(row.MinSeq, seqID), nil
}

// destroyKept is the end of the time that a secret is kept.
func destroyKept(lt *ledger.Txn, key []byte, g ledger.Grave) (ledger.Event, error) {
	uuid, state, t := kms.UUID(key), key[len(key)-1], &txn{view: view{View: lt.View}, Txn: lt}
	e := ledger.Event{Volumes: []kms.UUID{uuid}, Detail: "a secret that was replaced"}
	nodes, err := nodesOf(g)
	if err != nil {
		return e, err
	}
	row, found, err := t.volume(nodes[0], uuid)
	if err != nil || !found {
		return e, err
	}
	if err := t.Remove(tableSecrets, secretKey(volumeKey(row.Node, uuid), state)); err != nil {
		return e, err
	}
	row.Kept = slices.DeleteFunc(row.Kept, func(k keptSecret) bool { return k.State == state })
	if len(row.Kept) == 0 {
		row.Kept, row.Older = nil, nil
	}
	return e, t.saveVolume(row)
}
