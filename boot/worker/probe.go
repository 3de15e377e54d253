package worker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"latchkey/boot/codes"
	"latchkey/boot/device"
	"latchkey/internal/plan"
	"latchkey/internal/secret"
	"latchkey/unlock/bcache"
	"latchkey/unlock/dm"
	"latchkey/unlock/luks2"
	"latchkey/unlock/md"
	"latchkey/unlock/source/keyfile"
)

// luksType is what device.Probe calls a LUKS header.
const luksType = "crypto_LUKS"

// probeWait is how long a look waits for devices to answer. What a dying
// disk or an empty drive says later counts in the next look; until then it
// holds up no other.
const probeWait = 300 * time.Millisecond

// readTries is how often a header is read before a device that answers
// with errors is given up.
const readTries = 3

// probed is what one device holds.
type probed struct {
	block  device.Block
	super  device.Super
	member *md.Member     // of an array, whatever else it seems to hold
	damage error          // why the member's superblock counts for nothing
	cache  *bcache.Device // of bcache, nil if it is damaged
	behind bool           // a volume of the plan is behind the cache
	header *luks2.Header  // of a volume of the plan
	err    error          // why there is no header
	tries  int            // how often reading it failed
}

// A search looks at all devices, again and again.
type search struct {
	sys     System
	plan    *plan.Plan
	arrays  *arrays
	caches  *caches
	arrived func() // a slow device has answered

	turn     sync.Mutex // of probe: two at once would take each other's devices for slow
	mu       sync.Mutex
	underway map[string]bool   // by path: a probe that has not come back
	late     map[string]probed // by path: what came after its look
	failures map[string]int    // by path

	// Of headers that are elsewhere than their payloads.
	headers headers
	carries func(p probed, key, value string) bool
	readKey func(keyfile.Device, keyfile.File) (secret.Bytes, error)
	release func() // the drivers of sticks
}

func (w *worker) newSearch() *search {
	return &search{
		sys: w.sys, plan: w.plan, arrays: w.newArrays(), caches: w.newCaches(), arrived: w.look, underway: map[string]bool{}, late: map[string]probed{}, failures: map[string]int{},
		headers: headers{read: map[string][]byte{}, asked: map[keyfile.Device]error{}}, carries: w.carries, readKey: w.readKey, release: func() { w.loader.Release() },
	}
}

// look looks at every block device once, and at the plan's volumes there.
func (s *search) look(ctx context.Context) sightings {
	all := make(sightings, len(s.plan.Volumes))
	blocks, err := s.sys.Blocks()
	if err != nil {
		for i, v := range s.plan.Volumes {
			all[i] = sighting{v, nil, err}
		}
		return all
	}

	probes, slow := s.probe(ctx, blocks)
	seen := append(s.arrays.see(probes), s.caches.see(probes)...)
	for _, p := range probes {
		seen = append(seen, strings.TrimRight(p.block.Name+" "+p.super.Type+" "+p.super.UUID, " "))
	}
	for _, name := range slow {
		seen = append(seen, name+" (no answer yet)")
	}
	for i, v := range s.plan.Volumes {
		if v.Header != nil {
			all[i] = s.detached(v, probes)
			continue
		}
		all[i] = sight(v, probes, seen)
	}
	return all
}

// probe reads the beginning of every device, side by side, and returns what
// has answered in time and the names of what has not.
func (s *search) probe(ctx context.Context, blocks []device.Block) (in []probed, slow []string) {
	s.turn.Lock()
	defer s.turn.Unlock()
	results := make(chan probed, len(blocks))
	got, started := s.start(blocks, results)
	patience := time.NewTimer(probeWait)
	defer patience.Stop()
	for ; started > 0; started-- {
		select {
		case p := <-results:
			got[p.block.Path] = p
			continue
		case <-patience.C:
		case <-ctx.Done():
		}
		go s.catch(results, started)
		break
	}

	return s.sort(blocks, got)
}

func isMapping(b device.Block) bool { return strings.HasPrefix(b.Name, "dm-") }

// start begins a probe of every device that none is under way for, and
// returns how many, and by path what came after the last look.
func (s *search) start(blocks []device.Block, results chan<- probed) (got map[string]probed, started int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	got = map[string]probed{}
	for _, b := range blocks {
		if isMapping(b) || s.underway[b.Path] {
			continue
		}
		if p, ok := s.late[b.Path]; ok && p.block == b {
			got[b.Path] = p
			continue
		}
		s.underway[b.Path] = true
		started++
		go func() {
			p := s.probeOne(b)
			s.mu.Lock()
			delete(s.underway, b.Path)
			s.mu.Unlock()
			results <- p
		}()
	}
	clear(s.late)
	return got, started
}

// catch keeps what comes after its look for the next one.
func (s *search) catch(results <-chan probed, n int) {
	for range n {
		p := <-results
		s.mu.Lock()
		s.late[p.block.Path] = p
		s.mu.Unlock()
		s.arrived()
	}
}

// busy tells whether a device has not answered yet.
func (s *search) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.underway) > 0
}

// probeOne reads one device: what is on it and, if it is a volume of the
// plan, its header. Nothing else of a device is read before it is opened.
func (s *search) probeOne(b device.Block) probed {
	p := probed{block: b}
	f, err := s.sys.Open(b.Path, false)
	if err != nil {
		return p // no node yet, or no medium: its next event comes
	}
	defer f.Close()
	if isMember(&p, f) {
		return p
	}
	p.super, _ = device.Probe(f)
	if p.super.Type == cacheType {
		s.probeCache(&p, f)
		return p
	}
	i := s.planned(p.super)
	if i < 0 {
		return p
	}

	v := s.plan.Volumes[i]
	p.header, p.err = accept(v).Read(f, b.SizeBytes)
	if v.LUKS1 && errors.Is(p.err, luks2.ErrLUKS1) {
		p.header, p.err = accept(v).ReadLUKS1(f, b.SizeBytes)
	}
	if _, ok := errors.AsType[*luks2.Rejected](p.err); p.err != nil && !ok {
		s.mu.Lock()
		s.failures[b.Path]++
		p.tries = s.failures[b.Path]
		s.mu.Unlock()
	}
	return p
}

// planned is which of the plan's volumes is there, -1 for none.
func (s *search) planned(super device.Super) int {
	if super.Type != luksType {
		return -1
	}
	return slices.IndexFunc(s.plan.Volumes, func(v plan.Volume) bool { return strings.EqualFold(v.UUID, super.UUID) })
}

// headerError gives what luks2 says a code of the boot's: broken rules are
// one code here, whatever the rule, and an I/O error is three tries.
func headerError(v plan.Volume, p probed) error {
	rejected, broken := errors.AsType[*luks2.Rejected](p.err)
	switch {
	case errors.Is(p.err, luks2.ErrDamaged):
		return codes.Fail(rejected.Code(), "%s on %s: %w", v.Name, p.block.Path, p.err)
	case errors.Is(p.err, luks2.ErrLUKS1):
		return codes.Fail("header-rejected", "%s on %s: %w, and the plan does not say luks1: true", v.Name, p.block.Path, p.err)
	case broken:
		return codes.Fail("header-rejected", "%s on %s: %w", v.Name, p.block.Path, p.err)
	case p.tries < readTries:
		return codes.Fail("volume-missing", "reading %s: %w", p.block.Path, p.err)
	}
	return codes.Fail("volume-io", "reading %s, %d times: %w", p.block.Path, p.tries, p.err)
}

func dmOptions(v plan.Volume) dm.Options { return dm.OptionsOf(v.Options) }

// accept is what the plan takes of a volume's header.
func accept(v plan.Volume) luks2.Accept {
	if v.Accept == plan.AcceptCryptsetup {
		return luks2.Cryptsetup
	}
	return luks2.Strict
}
