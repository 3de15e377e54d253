package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"latchkey/boot/codes"
	"latchkey/boot/device"
	"latchkey/unlock/bcache"
)

// cacheType is what device.Probe calls a device of bcache.
const cacheType = "bcache"

// cacheWait is how long the kernel may take to read a cache's journal.
const cacheWait = 2 * time.Minute

// caches are the devices of bcache. The kernel gets those that a volume which
// the boot misses may be on: it writes to them as soon as it has them.
type caches struct {
	worker *worker
	there  []probed // that the kernel has not yet, as the last look saw them
	all    []*bcache.Device
	since  map[string]time.Time // by path
	tried  map[string]bool      // by path
}

func (w *worker) newCaches() *caches {
	return &caches{worker: w, since: map[string]time.Time{}, tried: map[string]bool{}}
}

// probeCache reads the superblock, and whether a volume of the plan begins
// behind it: that may be in the cache only, but a header that is no new one is
// in both.
func (s *search) probeCache(p *probed, f io.ReaderAt) {
	d, err := bcache.Read(f, p.block.Path, p.block.SizeBytes)
	if err != nil {
		p.err = err
		return
	}
	p.cache = d
	if !d.Cache {
		super, _ := device.Probe(io.NewSectionReader(f, d.DataBytes, p.block.SizeBytes-d.DataBytes))
		p.behind = s.planned(super) >= 0
	}
}

// see notes the devices of one look, and says why nothing is on those that
// the kernel does not get.
func (c *caches) see(probes []probed) (seen []string) {
	c.there, c.all = nil, nil
	for _, p := range probes {
		switch {
		case p.super.Type != cacheType:
		case p.cache != nil:
			c.all = append(c.all, p.cache)
			if !p.block.Cached {
				c.there = append(c.there, p)
			}
		case errors.Is(p.err, bcache.ErrDamaged):
			seen = append(seen, p.err.Error())
		}
	}
	for _, p := range c.there {
		if d := p.cache; d.Attached && len(d.Caches(c.all)) == 0 {
			seen = append(seen, lacks(d))
		}
	}
	return seen
}

// lacks says that a backing device's cache is missing.
func lacks(d *bcache.Device) string {
	return fmt.Sprintf("%s is behind a cache of the set %s, which is not there", d.Path, d.Set)
}

// run gives the kernel the backing devices whose time has come, each behind
// its cache: at once if a volume of the plan is seen on one, else when nothing
// else comes. One without the cache that it needs is left alone, for the newest
// contents may be there.
func (c *caches) run(ctx context.Context, missing, quiet bool) (begun bool, next time.Duration) {
	w := c.worker
	for _, p := range c.there {
		d := p.cache
		if !missing || d.Cache || c.tried[d.Path] {
			continue
		}
		caches := d.Caches(c.all)
		wait := c.wait(p, quiet)
		switch {
		case wait > 0:
			if next == 0 || wait < next {
				next = wait
			}
		case d.Attached && len(caches) == 0:
			what := "it is not run without"
			if d.Dirty {
				what = "the newest of what it holds is there"
			}
			w.search.arrays.tell(codes.Fail("bcache-missing", "%s: %s", lacks(d), what))
		default:
			c.register(ctx, append(caches, d))
			begun = true
		}
	}
	return begun, next
}

// wait is how long a device is still left alone.
func (c *caches) wait(p probed, quiet bool) time.Duration {
	since, ok := c.since[p.block.Path]
	if !ok {
		since = time.Now()
		c.since[p.block.Path] = since
	}
	wait := quietWait
	switch {
	case p.behind && len(p.cache.Caches(c.all)) > 0, p.behind && !p.cache.Attached:
		return 0
	case !quiet:
		wait += degradedPatience
	}
	return time.Until(since.Add(wait))
}

// register gives the kernel devices, as a step: the caches, and what is behind
// them.
func (c *caches) register(ctx context.Context, devices []*bcache.Device) {
	w, paths := c.worker, []string{}
	for _, d := range devices {
		if !c.tried[d.Path] && !c.has(d.Path) {
			paths = append(paths, d.Path)
		}
		c.tried[d.Path] = true
	}
	_, err := step(ctx, w, "bcache", cacheWait, func(context.Context) (struct{}, string, error) {
		w.loader.Named("bcache")
		for _, path := range paths {
			if err := w.sys.RunCached(path); err != nil {
				return struct{}{}, "", codes.Fail("bcache-failed", "giving %s to bcache: %w", path, err)
			}
		}
		return struct{}{}, strings.Join(paths, ","), nil
	})
	if err != nil {
		w.search.arrays.tell(err)
	}
}

// has tells whether the kernel has a device already.
func (c *caches) has(path string) bool {
	for _, p := range c.there {
		if p.block.Path == path {
			return false
		}
	}
	return true
}

// run has the kernel make the devices that other devices form, where their
// time has come: arrays of md, and what is behind a cache.
func (s *search) run(ctx context.Context, missing bool) (begun bool, next time.Duration) {
	quiet := !s.busy() && s.arrays.worker.driversLoaded()
	begun, next = s.arrays.run(ctx, missing, quiet)
	cached, soon := s.caches.run(ctx, missing, quiet)
	if next == 0 || soon != 0 && soon < next {
		next = soon
	}
	return begun || cached, next
}
