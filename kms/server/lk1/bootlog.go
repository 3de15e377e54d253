package lk1

import (
	"fmt"
	"reflect"
	"time"

	"latchkey/kms"
	"latchkey/kms/server/eventlog"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/policy"
)

// A bootLog is what is kept of a boot's event log: what it told, and the
// values that it adds up to. While they are quoted it is known what they
// are made of, and no log is asked for again.
type bootLog struct {
	PCRs    map[int]digest    `json:"pcrs"` // of eventlog.Selection
	SHA256  digest            `json:"sha256,omitzero"`
	Summary *eventlog.Summary `json:"summary,omitempty"` // nil: there was no log, or it was refused
	Refused string            `json:"refused,omitempty"` // why
	Shown   time.Time         `json:"shown"`
}

// of tells whether a log is of the boot that a proof shows: all that is
// judged of it has the values that the log was held against.
func (l *bootLog) of(p *proof) bool {
	if l == nil || len(p.pcrs) == 0 {
		return false
	}
	unlocking := p.operation == kms.Get || p.operation == kms.Stage
	for pcr, value := range p.pcrs {
		if pcr != latchPCR && (pcr != 11 || unlocking) && l.PCRs[pcr] != value {
			return false
		}
	}
	return true
}

// bootOf is the log of the boot that a proof shows; nil: none is known.
func (row *nodeRow) bootOf(p *proof) *bootLog {
	for _, l := range []*bootLog{row.BootLog, row.ApprovedBoot} {
		if l.of(p) {
			return l
		}
	}
	return nil
}

// boots are what the policy goes by: what is known of the boot that a proof
// shows, and of the approved one.
func (row *nodeRow) boots(p *proof) (boot, approved *eventlog.Summary, refused string) {
	if row.ApprovedBoot != nil {
		approved = row.ApprovedBoot.Summary
	}
	if l := row.bootOf(p); l != nil {
		boot, refused = l.Summary, l.Refused
	}
	return boot, approved, refused
}

// keepBoot makes what the shown boot measured that of the approved one.
func (row *nodeRow) keepBoot() {
	row.ApprovedBoot = nil
	if row.Shown == nil || !row.Shown.Boot || row.Awaits || row.Takes || len(row.Pins) == 0 {
		return // another boot is to come, which is the one that counts
	}
	if l := row.bootOf(row.lastProof()); l != nil && l.Summary != nil {
		row.ApprovedBoot = l
	}
}

// lastProof is the node's last one, as far as it is kept.
func (row *nodeRow) lastProof() *proof { return Question{}.proof(*row) }

// askAgain is after what time a log is asked for again that was refused.
const askAgain = 10 * time.Minute

// wantsLog: the boot is not known, and it is worth knowing. A known machine
// that boots what was approved is never asked, but once after its approval
// if nothing was known then.
func (row *nodeRow) wantsLog(p *proof, d *kms.Decision, now time.Time) bool {
	if l := row.bootOf(p); l != nil {
		age := now.Sub(l.Shown)
		return l.Refused != "" && (age < 0 || age > askAgain)
	}
	switch {
	case row.Quarantined || row.State != fleet.Pending && row.State != fleet.Approved:
		return false
	case d.Status == kms.OK:
		return row.ApprovedBoot == nil && len(row.Pins) > 0
	}
	return d.Status == kms.Pending || d.Status == kms.PCRMismatch
}

// explain puts into an answer what the node's machine may be told beside the
// status: that its log is wanted, and, if it is an approved one, how its boot
// differs from the approved boot. Whoever stands there can read the log
// itself; no value of a PCR is told.
func (s *Service) explain(p *proof, row *nodeRow, d *kms.Decision, now time.Time) {
	if row.wantsLog(p, d, now) {
		d.Ask = &kms.Ask{Selection: eventlog.Selection, Cookie: s.cookies.sealAsk(&pledge{
			key: p.reportKey, th3: p.th3, node: p.node, akPublic: p.akPublic, operation: p.operation,
			clock: p.clock, pcrs: p.pcrs, expiry: s.ledger.Now() + pledgeLife,
		})}
	}
	if d.Status == kms.PCRMismatch && row.State == fleet.Approved {
		d.Words = cut(s.facts(p, row, now).Explanation(), kms.MaxWords)
	}
}

// explanation is what is known in words of a mismatch, or of a boot that
// waits for approval; empty: nothing.
func (s *Service) explanation(row *nodeRow) string {
	if row.Shown == nil {
		return ""
	}
	p := row.lastProof()
	boot, approved, refused := row.boots(p)
	if boot != nil && approved != nil && reflect.DeepEqual(boot, approved) {
		return ""
	}
	return policy.Facts{Boot: boot, ApprovedBoot: approved, LogRefused: refused, Programs: s.book.Rules().Programs}.Explanation()
}

// bootLines say what the node booted last.
func (s *Service) bootLines(row *nodeRow) []string {
	l := row.bootOf(row.lastProof())
	switch {
	case l == nil:
		return nil
	case l.Summary == nil:
		return []string{l.String()}
	}
	return l.Summary.Lines(s.book.Rules().Programs)
}

// cut shortens text to so many bytes.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	s = s[:most-3]
	for len(s) > 0 && s[len(s)-1] >= 0x80 {
		s = s[:len(s)-1]
	}
	return s + "..."
}

// String says of a boot's log what an audit line has room for.
func (l *bootLog) String() string {
	switch {
	case l.Refused != "":
		return l.Refused
	case l.Summary == nil:
		return "its firmware leaves no event log"
	}
	return fmt.Sprintf("event log %x…: %s", l.SHA256[:4], l.Summary.Sentence())
}
