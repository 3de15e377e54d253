package site

import (
	"latchkey/kms/ledger"
)

// Said is what a site's server says of its log.
type Said struct {
	End   ledger.ChainEnd
	Seqs  []uint64
	Links [][]byte
}

// Judge follows a log from where the center has it.
func Judge(merged, saidEnd ledger.ChainEnd, s Said) (at ledger.ChainEnd, events []ledger.Event, err error) {
	kept := &Site{Name: "berlin", Merged: merged, SaidEnd: saidEnd}
	r := &report{End: s.End}
	for i, l := range s.Links {
		r.Links = append(r.Links, link{s.Seqs[i], l})
	}
	events, err = judge(kept, r)
	return kept.Merged, events, err
}
