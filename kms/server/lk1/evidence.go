package lk1

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/eventlog"
	"latchkey/kms/server/fleet"
)

// pledgeLife is how long a node may take to show its log: a slow TPM quotes
// in seconds.
const pledgeLife = time.Minute

// A pledge is what the KMS must remember between M4 and M6: what was proven.
type pledge struct {
	key       secret.Bytes // k_m5
	th3       [32]byte
	node      kms.NodeID
	akPublic  []byte
	operation kms.Operation
	clock     clock
	pcrs      map[int]digest
	expiry    time.Duration // on the ledger's clock
}

func (c *cookies) sealAsk(p *pledge) []byte {
	w := kms.NewWriter(kms.MaxReportCookie)
	w.Field(p.key.Reveal())
	w.Field(p.th3[:])
	w.Field(p.node[:])
	w.Field(p.akPublic)
	w.Byte(byte(p.operation))
	w.Uint64(uint64(p.clock.Reset)<<32 | uint64(p.clock.Restart))
	w.Uint64(uint64(p.expiry))
	for _, pcr := range slices.Sorted(maps.Keys(p.pcrs)) {
		value := p.pcrs[pcr]
		w.Byte(byte(pcr))
		w.Field(value[:])
	}
	defer clear(w.Bytes())
	return c.newest().seal(forLog, w.Bytes())
}

func (c *cookies) openAsk(cookie []byte) (*pledge, error) {
	plain, _, err := c.open(forLog, cookie)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	r, p := kms.NewReader(plain), &pledge{pcrs: map[int]digest{}}
	p.key = secret.Own(bytes.Clone(r.Exact("key", 32)))
	p.th3 = [32]byte(r.Exact("th3", 32))
	p.node = kms.NodeID(r.Exact("node", 32))
	p.akPublic = bytes.Clone(r.Field("AK public area", 1024))
	p.operation = kms.Operation(r.Byte("operation"))
	counts := r.Uint64("counters")
	p.clock = clock{Reset: uint32(counts >> 32), Restart: uint32(counts)}
	p.expiry = time.Duration(r.Uint64("expiry"))
	for r.More() {
		p.pcrs[int(r.Byte("PCR index"))] = digest(r.Exact("PCR value", 32))
	}
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("opening a cookie: %w", err)
	}
	if c.clock.Now() >= p.expiry {
		return nil, errCookie
	}
	return p, nil
}

// evidence takes M6: the event log of the boot that an M3 has proven.
func (s *Service) evidence(ctx context.Context, m6 []byte, from string) error {
	m, err := kms.ParseEvidence(m6)
	if err != nil {
		return err
	}
	p, err := s.cookies.openAsk(m.Cookie)
	if err != nil {
		return err
	}
	defer p.key.Wipe()
	e, err := kms.OpenEvidence(m, p.key, p.th3)
	if err != nil {
		return err
	}

	var l *bootLog
	err = s.work.Do(ctx, func() (err error) {
		l, err = p.judge(e)
		return err
	})
	if err != nil {
		return err
	}
	if err := s.keepLog(ctx, p, l, from); err != nil {
		return &ledger.Unavailable{Err: err}
	}
	return nil
}

// judge checks that the same boot speaks, and reads its log. A log that is
// refused is a result: the machine goes on asking, and the operator sees why.
func (p *pledge) judge(e *kms.Evidence) (*bootLog, error) {
	extra := kms.EvidenceData(p.th3)
	c, err := checkQuote(e.Quote, p.akPublic, extra[:], eventlog.Selection)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errRefused, err)
	}
	l := &bootLog{PCRs: map[int]digest{}}
	for _, v := range e.Quote.PCRs {
		l.PCRs[v.Index] = v.Value
	}
	for pcr, value := range p.pcrs {
		if now, quoted := l.PCRs[pcr]; quoted && now != value || c != p.clock {
			return nil, fmt.Errorf("%w: it is of another boot than the proof", errRefused)
		}
	}

	if len(e.Log) == 0 {
		return l, nil
	}
	l.SHA256 = sha256.Sum256(e.Log)
	running := p.operation != kms.Get && p.operation != kms.Stage
	l.Summary, err = eventlog.Read(eventlog.Evidence{Log: e.Log, PCRs: l.PCRs, CommandLine: e.CommandLine, Kernel: e.Kernel, Running: running})
	if err != nil {
		l.Refused = cut(err.Error(), 300)
	}
	return l, nil
}

// keepLog records what a log told. The same one again costs no write.
func (s *Service) keepLog(ctx context.Context, p *pledge, l *bootLog, from string) error {
	known := false
	err := s.read(func(v view) error {
		row, found, err := v.node(p.node)
		known = err == nil && (!found || row.BootLog != nil && row.BootLog.SHA256 == l.SHA256 && maps.Equal(row.BootLog.PCRs, l.PCRs) && row.BootLog.Refused == l.Refused && l.Refused == "")
		return err
	})
	if err != nil || known {
		return err
	}

	l.Shown = s.ledger.Wall().UTC()
	var words string
	err = s.update(ctx, func(t *txn) error {
		row, found, err := t.node(p.node)
		if err != nil || !found || row.State == fleet.Deleted || row.Shown == nil || !l.of(row.lastProof()) {
			return err // deleted, forgotten, or rebooted meanwhile
		}
		row.BootLog = l
		if row.ApprovedBoot == nil && l.Summary != nil && row.State == fleet.Approved && row.pinned(l) {
			row.ApprovedBoot = l
		}
		words = l.String()
		if x := s.explanation(&row); row.ApprovedBoot != nil && l.Refused == "" && x != "" {
			words = x
		}
		if err := t.saveNode(row); err != nil {
			return err
		}
		note := t.Note
		if row.State != fleet.Approved {
			note = t.NoteStranger
		}
		return note(ledger.Event{Event: "boot-log", Node: row.ID.String(), Status: row.LastStatus, Reason: string(row.LastReason), From: from, Detail: words})
	})
	if err == nil && words != "" {
		s.log.Info("boot log", "node", p.node, "words", p.node.Words(), "from", from, "refused", l.Refused != "", "says", words)
	}
	return err
}

// pinned tells whether a log is of the approved boot.
func (row *nodeRow) pinned(l *bootLog) bool {
	for pcr, value := range row.Pins {
		if l.PCRs[pcr] != value {
			return false
		}
	}
	return len(row.Pins) > 0
}
