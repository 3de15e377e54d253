package lk1

import (
	"encoding/json"
	"fmt"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/policy"
)

// nodeCopy is what another server needs to give one node its keys: its row,
// judged by what it says alone, and its volumes with their active secrets. A
// staged one stays here: a machine takes a rotation for that of the server
// whose key signed the grant, and ends none of another's.
type nodeCopy struct {
	Node    nodeRow      `json:"node"`
	Volumes []volumeCopy `json:"volumes"`
}

type volumeCopy struct {
	Row    volumeRow `json:"row"`
	Active []byte    `json:"active"` // kind, secret
}

func (c nodeCopy) wipe() {
	for _, v := range c.Volumes {
		clear(v.Active)
	}
}

// Labels are those of a node that may have its keys; false: there is none
// that may.
func (s *Service) Labels(v ledger.View, id kms.NodeID) (map[string]string, bool, error) {
	row, found, err := s.view(v).node(id)
	if err != nil || !found || !row.copies() {
		return nil, false, err
	}
	return row.Labels, true, nil
}

// EachLabels calls f with all nodes that may have their keys.
func (s *Service) EachLabels(v ledger.View, f func(kms.NodeID, map[string]string)) error {
	return s.rows.fleet.Known(v, func(row nodeRow) error {
		if row.copies() {
			f(row.ID, row.Labels)
		}
		return nil
	})
}

// copies tells whether another server may have a copy of the row: nothing of
// it waits for a decision.
func (row *nodeRow) copies() bool {
	return row.State == fleet.Approved && !row.Quarantined && !row.Awaits && !row.Takes
}

// Copy is a node for another server, in this version's form. It holds the
// node's secrets: wipe it. False: the node may not be copied.
func (s *Service) Copy(v ledger.View, id kms.NodeID) (copied secret.Bytes, found bool, err error) {
	view := s.view(v)
	row, found, err := view.node(id)
	if err != nil || !found || !row.copies() {
		return copied, false, err
	}
	var c nodeCopy
	defer func() { c.wipe() }()
	if c.Node, err = view.copyRow(row); err != nil {
		return copied, false, err
	}
	for _, uuid := range view.uuidsOf(id) {
		one, status, err := view.owned(id, uuid)
		if err != nil {
			return copied, false, err
		}
		if status != kms.OK || !one.usable() {
			continue
		}
		held, err := view.copyVolume(one)
		if err != nil {
			return copied, false, err
		}
		c.Volumes = append(c.Volumes, held)
	}
	text, err := json.Marshal(c)
	return secret.Own(text), err == nil, err
}

// copyRow is a row that is judged without configuration, releases and boots:
// all that the node may boot is what it may boot now, and was last given its
// keys for, or was approved. What asks the machine to change something is
// left out.
func (v view) copyRow(row nodeRow) (nodeRow, error) {
	pins, err := v.bootCopied(&row)
	own := v.s.settings(&row)
	own.Releases, own.Accept, own.Announce, own.Unmeasured = nil, nil, "", ""
	row.Settings, row.Pins = own, pins
	row.Announced, row.Release, row.Rolled, row.BootLog, row.ApprovedBoot, row.Certificate = nil, "", nil, nil, nil, nil
	return row, err
}

// never is a value that no PCR comes to: it is no hash of anything known.
var never = digest{0: 0xff, 31: 0x01}

// bootCopied are the PCRs that a copy pins: those of the last unlock, or, if
// the node asked for something else since, the approved ones. It is this
// moment's policy that says whether they may be booted; if not, such as a
// release that was retired, no boot state passes.
func (v view) bootCopied(row *nodeRow) (map[int]digest, error) {
	last := row.Pins
	unlocked := row.LastStatus == kms.OK.Code() && row.Shown != nil && row.Shown.Operation == kms.Get.String() && row.Shown.Boot
	if unlocked {
		last = row.Shown.PCRs
	}
	p := &proof{node: row.ID, operation: kms.Get, from: row.LastFrom, pcrs: last, clock: row.Clock}
	f, err := v.facts(p, row, v.s.ledger.Wall().UTC())
	if err != nil {
		return nil, err
	}
	if policy.Judge(f).Failed(policy.RuleBootState) {
		return map[int]digest{11: never}, nil
	}
	all := f.BootedRelease() != "" // that may judge by any of them
	pins := map[int]digest{}
	for pcr, value := range last {
		if _, pinned := row.Pins[pcr]; (pinned || all) && pcr != latchPCR {
			pins[pcr] = value
		}
	}
	return pins, nil
}

func (v view) copyVolume(row volumeRow) (c volumeCopy, err error) {
	key := volumeKey(row.Node, row.UUID)
	c.Row = row
	c.Row.Staged, c.Row.Due, c.Row.Claimed = false, false, false
	c.Row.Kept, c.Row.Older, c.Row.Forget = nil, nil, false // those secrets stay here
	c.Active, _, err = v.Get(tableSecrets, secretKey(key, active))
	return c, err
}

// TakeCopy puts a copy in the place of what there is of the node. With keep
// its counters stay where they have gone further: what was given here is not
// known there yet.
func (s *Service) TakeCopy(lt *ledger.Txn, id kms.NodeID, copied secret.Bytes, keep bool) error {
	var c nodeCopy
	if err := json.Unmarshal(copied.Reveal(), &c); err != nil {
		return fmt.Errorf("reading the copy of a node: %w", err)
	}
	defer c.wipe()
	if c.Node.ID != id || !c.Node.copies() {
		return fmt.Errorf("reading the copy of node %s: it is of %s, %s", id, c.Node.ID, c.Node.State)
	}
	t := s.in(lt)
	before, found, err := t.node(id)
	if err != nil {
		return err
	}
	if found && keep {
		c.Node.follow(before.tally())
	}
	if err := t.dropCopied(id); err != nil {
		return err
	}
	for _, v := range c.Volumes {
		if err := t.takeVolume(id, v); err != nil {
			return err
		}
	}
	t.Bump()
	s.alsoQuote(c.Node.Pins)
	return t.saveNode(c.Node)
}

func (t *txn) takeVolume(id kms.NodeID, v volumeCopy) error {
	if v.Row.Node != id || len(v.Active) < 2 {
		return fmt.Errorf("reading the copy of node %s: volume %s is not its own, or has no secret", id, v.Row.UUID)
	}
	key := volumeKey(id, v.Row.UUID)
	if err := t.Put(tableSecrets, secretKey(key, active), v.Active); err != nil {
		return err
	}
	if err := t.Save(tableVolumes, key, v.Row); err != nil {
		return err
	}
	return t.Save(tableOwners, v.Row.UUID[:], id)
}

// DropCopy destroys what there is of a node.
func (s *Service) DropCopy(lt *ledger.Txn, id kms.NodeID) error {
	t := s.in(lt)
	if err := t.dropCopied(id); err != nil {
		return err
	}
	t.Bump()
	return s.rows.fleet.Forget(lt, id[:])
}

func (t *txn) dropCopied(id kms.NodeID) error {
	for _, uuid := range t.uuidsOf(id) {
		if err := t.dropVolume(id, uuid); err != nil {
			return err
		}
		owner, bound, err := t.owner(uuid)
		if err == nil && bound && owner == id {
			err = t.Remove(tableOwners, uuid[:])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// A Tally is what limits go by, of one node.
type Tally struct {
	Node   kms.NodeID   `json:"node"`
	Last   time.Time    `json:"last"`
	Clock  policy.Clock `json:"clock"`
	InBoot int          `json:"in_boot"`
	Recent []int64      `json:"recent,omitempty"`
}

func (row *nodeRow) tally() Tally {
	return Tally{row.ID, row.Last, row.Clock, row.InBoot, row.Recent}
}

// Tally is that of a node; false: it is not known.
func (s *Service) Tally(v ledger.View, id kms.NodeID) (Tally, bool, error) {
	row, found, err := s.view(v).node(id)
	return row.tally(), found, err
}

// Count takes over what another server has given a node by a copy.
func (s *Service) Count(lt *ledger.Txn, c Tally) error {
	t := s.in(lt)
	row, found, err := t.node(c.Node)
	if err != nil || !found {
		return err
	}
	row.follow(c)
	return t.saveNode(row)
}
