package lk1

import (
	"fmt"
	"maps"
	"slices"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/policy"
)

// announce keeps what a running system says of its next boot. The first later
// boot that asks is that boot, whatever becomes of it. Once that was given its
// keys, what it showed is pinned, and the announcement is over.
func (t *txn) announce(p *proof, row *nodeRow, f policy.Facts, status kms.Status) error {
	if p.operation == kms.Announce && status == kms.OK {
		t.Bump()
		row.Announced = &policy.Announced{Boot: p.clock, Until: f.Now.Add(f.Settings.AnnouncedFor())}
		return t.Note(ledger.Event{Event: "announced", Node: row.ID.String(), From: p.from, Detail: row.Announced.Window()})
	}
	if p.operation != kms.Get || !f.NextBoot() {
		return nil
	}
	if status != kms.OK {
		said := *row.Announced
		said.Next = &p.clock
		row.Announced = &said
		return nil
	}

	expired := f.Now.After(row.Announced.Until)
	row.Announced = nil
	t.Bump()
	var changed []int
	for pcr, pinned := range row.Pins {
		if value, ok := p.pcrs[pcr]; ok && value != pinned {
			changed = append(changed, pcr)
		}
	}
	slices.Sort(changed)
	if expired || len(changed) == 0 {
		return t.Note(ledger.Event{Event: "announced-boot", Node: row.ID.String(), From: p.from, Detail: "nothing is pinned: it boots what was approved"})
	}

	row.Shown = show(p)
	row.Pins = maps.Clone(row.Pins)
	for _, pcr := range changed {
		row.Pins[pcr] = p.pcrs[pcr]
	}
	row.keepBoot()
	return t.Note(ledger.Event{Event: "announced-boot", Node: row.ID.String(), From: p.from, Detail: fmt.Sprintf("pinned PCRs %v", changed)})
}
