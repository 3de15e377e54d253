package lk1

import (
	"slices"

	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/policy"
)

// A Bound is asked by a service whose rows are copies of another server's.
type Bound interface {
	// Holds says, in the transaction that decides, why the node may have
	// nothing now; empty: it may.
	Holds(t *ledger.Txn, node kms.NodeID) (why string, err error)
	// Gave is told, in the same transaction, that the node gets its keys.
	Gave(t *ledger.Txn, node kms.NodeID) error
}

// SetBound has a service decide by the copies of a ledger, before nodes are
// served.
func (s *Service) SetBound(v ledger.View, b Bound) error {
	s.bound = b
	return s.rows.fleet.Known(v, func(row nodeRow) error {
		s.alsoQuote(row.Pins)
		return nil
	})
}

// alsoQuote has challenges ask for the PCRs that a copy pins: there is no
// release here that does. Who is asked for more than his copy pins shows more.
func (s *Service) alsoQuote(pins map[int]digest) {
	for {
		before := s.pinned.Load()
		var all []int
		if before != nil {
			all = slices.Clone(*before)
		}
		for pcr := range pins {
			if !slices.Contains(all, pcr) {
				all = append(all, pcr)
			}
		}
		if before != nil && len(all) == len(*before) || s.pinned.CompareAndSwap(before, &all) {
			return
		}
	}
}

// judgeCopy decides by a copy. It admits nobody, accepts nothing and asks
// for nothing: what the copy does not say, the center decides later, so that
// who gets nothing asks again.
func (s *Service) judgeCopy(t *txn, p *proof) (*kms.Decision, error) {
	if p.operation != kms.Get {
		return nil, errRefused
	}
	why, err := s.bound.Holds(t.Txn, p.node)
	if err != nil {
		return nil, err
	}
	if why != "" {
		return &kms.Decision{Status: kms.TooOften, Words: why}, nil
	}
	d, err := s.judge(t, p)
	if err != nil {
		return nil, err
	}
	d.Ask = nil
	if slices.ContainsFunc(d.Volumes, func(g kms.Granted) bool { return g.Active.Kind != 0 }) {
		return d, s.bound.Gave(t.Txn, p.node)
	}
	return d, nil
}

// Mine tells whether a message brings a cookie that was closed here, so that
// nobody else can open it.
func (s *Service) Mine(path string, body []byte) bool {
	var purpose string
	var cookie []byte
	switch path {
	case kms.RedeemPath:
		if m, err := kms.ParseRedeem(body); err == nil {
			purpose, cookie = forRedeem, m.Cookie
		}
	case kms.ReportPath:
		if m, err := kms.ParseReport(body); err == nil {
			purpose, cookie = forReport, m.Cookie
		}
	}
	_, _, err := s.cookies.open(purpose, cookie)
	return err == nil
}

// follow takes counters over where they have gone further.
func (row *nodeRow) follow(c Tally) {
	if c.Last.After(row.Last) {
		row.Last = c.Last
	}
	switch {
	case row.Clock.Before(c.Clock):
		row.Clock, row.InBoot, row.Booted = c.Clock, c.InBoot, true
	case row.Clock == c.Clock:
		row.InBoot = max(row.InBoot, c.InBoot)
	}
	all := slices.Concat(row.Recent, c.Recent)
	slices.Sort(all)
	row.Recent = policy.OfHour(slices.Compact(all), row.Last)
}
