package lk1

import (
	"fmt"
	"strings"

	"latchkey/kms/server/fleet"
	"latchkey/kms/server/policy"
)

// pin takes the shown boot state for the approved one: PCRs 7, 12 and 11.
// One shown by a running system has gone on in PCR 11, and says nothing of
// the initrd that boots next. A boot whose initrd nothing measures is only
// taken if that was said.
func (v view) pin(row *nodeRow, a Approval, out *Approved) error {
	if row.Shown != nil {
		row.Clock = row.Shown.Clock
	}
	if a.NoPCRs {
		row.Pins, row.ApprovedBoot, row.Awaits, row.Takes = nil, nil, false, false
		out.Warning = "no boot state is pinned: any boot of this machine gets its keys"
		return nil
	}

	settings := v.s.settings(row)
	released := v.standing(row).Boots()
	said := a.Unmeasured || row.Unmeasured || settings.Unmeasured == policy.UnmeasuredAllow
	measured := row.Shown.Boot && policy.Measured(row.Shown.PCRs[11])
	if row.Shown.Boot && !measured && !released {
		switch {
		case settings.Unmeasured == policy.UnmeasuredRefuse:
			return fleet.Refuse(row.Shown.unmeasured() + "; its setting unmeasured is refuse: boot a UKI (docs/uki.md)")
		case !said:
			return fleet.Refuse(row.Shown.unmeasured() + ", and be given its keys: boot a UKI (docs/uki.md), or say --unmeasured")
		}
	}

	row.Unmeasured = (row.Unmeasured || a.Unmeasured) && !measured
	row.Awaits = !measured && (released || !row.Shown.Boot && !said)
	row.Takes = !measured && !released && !row.Shown.Boot && said
	row.pinShown(out)
	row.keepBoot()
	if row.Awaits && !released {
		out.warn("PCR 11 is not pinned: its own system asked, which says nothing of its next boot. That boot waits (pcr-mismatch) until you say: node accept")
	}
	return nil
}

// pinShown pins PCRs 7 and 12, and 11 unless another boot is to come.
func (row *nodeRow) pinShown(out *Approved) {
	var blank []string
	row.Pins = map[int]digest{}
	for _, pcr := range policy.QuotedPCRs {
		if pcr == 11 && (row.Awaits || row.Takes) {
			continue
		}
		row.Pins[pcr] = row.Shown.PCRs[pcr]
		out.Pinned = append(out.Pinned, pcr)
		if row.Pins[pcr] == (digest{}) && pcr != 12 {
			blank = append(blank, fmt.Sprint(pcr))
		}
	}

	if len(blank) > 0 {
		out.warn(fmt.Sprintf("PCR %s is all zero: the firmware measured nothing into the SHA-256 bank; enable that bank in its setup, boot, and say: node accept", strings.Join(blank, " and ")))
	}
	if row.Takes {
		out.warn("PCR 11 is not pinned: its own system asked. The next boot is taken as it is, and pinned")
	}
}

func (out *Approved) warn(text string) {
	if out.Warning != "" {
		out.Warning += "; "
	}
	out.Warning += text
}

// unmeasured says what an operator must know before approving.
func (s *shown) unmeasured() string {
	why := "has only latchkey's own measurement"
	if s.PCRs[11] == (digest{}) {
		why = "is all zero"
	}
	return fmt.Sprintf("nothing measures its initrd (PCR 11 %s): anyone at the disk can replace it", why)
}

// takeFirst pins PCR 11 of the first boot of a node that was approved while
// its own system ran.
func (row *nodeRow) takeFirst(p *proof) bool {
	if !row.Takes {
		return false
	}
	if row.Pins == nil {
		row.Pins = map[int]digest{}
	}
	row.Pins[11], row.Takes = p.pcrs[11], false
	row.ApprovedBoot = row.bootOf(p)
	if policy.Measured(p.pcrs[11]) {
		row.Unmeasured = false
	}
	return true
}

// standing is what the node's boot state is judged by; of one that waits for
// approval, what approving it would pin.
func (v view) standing(row *nodeRow) policy.Standing {
	st := policy.Standing{Pins: row.Pins, Awaits: row.Awaits, Takes: row.Takes, Accepted: v.s.settings(row).Releases}
	st.Releases, _ = v.releases() // what cannot be read now fails the next decision
	if row.State != fleet.Approved && row.Shown != nil {
		st.Pins, st.Awaits = row.Shown.PCRs, !row.Shown.Boot
	}
	return st
}

// cover says what the node's boot state covers; nil: it has shown none.
func (v view) cover(row *nodeRow) *policy.Cover {
	if row.Shown == nil && row.State != fleet.Approved || row.State == fleet.Deleted {
		return nil
	}
	c := v.standing(row).Cover()
	return &c
}
