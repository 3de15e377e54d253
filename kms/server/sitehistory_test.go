package server_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"latchkey/kms"
	"latchkey/kms/softtpm"
)

// A siteHistory does things at random, and knows what must not come of them.
type siteHistory struct {
	*siteLab
	dice     *rand.Rand
	tpms     []*softtpm.TPM
	stopped  []bool // at the center
	heard    []bool // by the site
	cutOff   bool
	gave     int
	released []int // in this cut, by machine
}

// TestSiteHistories: whatever happens in whatever order, nothing is given
// after the site heard of a quarantine, nothing beyond the bounds of one cut,
// and all that was given is in the center's log.
func TestSiteHistories(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inSite(t, func(t *testing.T, l *siteLab) {
				h := &siteHistory{siteLab: l, dice: rand.New(rand.NewPCG(seed, 13)), stopped: make([]bool, 3), heard: make([]bool, 3), released: make([]int, 3)}
				for i := range 3 {
					h.tpms = append(h.tpms, l.machine(kms.UUID{byte(i + 1)}, ofBerlin))
				}
				for range 40 {
					h.step()
				}
				h.heal()
				l.carried(h.gave)
			})
		})
	}
}

func (h *siteHistory) step() {
	i := h.dice.IntN(len(h.tpms))
	who := h.tpms[i].NodeID().String()
	switch h.dice.IntN(10) {
	case 0:
		if !h.cutOff {
			h.cut()
			h.cutOff, h.released = true, make([]int, 3)
		}
	case 1:
		h.heal()
	case 2, 3:
		h.stopped[i] = !h.stopped[i]
		if _, err := h.SetQuarantine(ctx, who, h.stopped[i]); err != nil {
			h.t.Fatal(err)
		}
		if !h.cutOff {
			h.heal()
		}
	case 4:
		cutOff := h.cutOff
		h.restart(func() {})
		if cutOff {
			h.until("it notices the cut", func() bool { return h.site.Follower.Wire() == "cut" })
		} else {
			h.up()
		}
	default:
		h.get(i)
	}
}

func (h *siteHistory) heal() {
	h.wire.cut(false)
	h.up()
	h.cutOff = false
	copy(h.heard, h.stopped)
}

func (h *siteHistory) get(i int) {
	h.t.Helper()
	switch got := h.gives(h.tpms[i], kms.UUID{byte(i + 1)}); {
	case got == "site":
		h.gave++
		h.released[i]++
		machines := 0
		for _, n := range h.released {
			machines += min(n, 1)
		}
		if h.heard[i] || !h.cutOff || h.released[i] > usualBounds.Releases || machines > usualBounds.Machines {
			h.t.Errorf("the site gave machine %d its key: stopped %v and heard of it %v, cut off %v, %v releases in this cut", i, h.stopped[i], h.heard[i], h.cutOff, h.released)
		}
	case got == "center" && (h.stopped[i] || h.cutOff):
		h.t.Errorf("the center gave machine %d its key: stopped %v, cut off %v", i, h.stopped[i], h.cutOff)
	case got == "nobody" && !h.cutOff && !h.stopped[i]:
		h.t.Errorf("machine %d got nothing with the wire up", i)
	}
}
