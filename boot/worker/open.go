package worker

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"latchkey/boot/codes"
	"latchkey/boot/wire"
	"latchkey/internal/plan"
	"latchkey/unlock"
	"latchkey/unlock/source"
	"latchkey/unlock/source/together"
)

// An opening is how one volume came to be open, or why it is not.
type opening struct {
	disk   *disk
	open   bool
	opened unlock.Opened
	keys   []unlock.Candidate // of a grant with a next secret: kept to rotate
	copied error              // that another device has the volume, too
	err    error              // why the last try failed
	lost   map[string]error   // by source: why it opens this volume no more
	want   unlock.Expect      // what the sources of parts know of it
	mixer  *together.Mixer    // of the parts of its key; nil if each source opens it alone
	opens  chan struct{}      // closed when it is open
}

// openings are those of a boot. Only worker.open changes them, under mu.
type openings struct {
	worker *worker
	runs   []*run // of the sources that the volumes list
	mu     sync.Mutex
	all    []*opening // in the order of the plan
}

func (w *worker) newOpenings(disks []*disk) *openings {
	o := &openings{worker: w}
	for _, d := range disks {
		o.all = append(o.all, &opening{disk: d, lost: map[string]error{}, mixer: together.New(d.Header, w.plan.WaysOf(d.planned), plan.KindOf), opens: make(chan struct{})})
	}
	return o
}

// of is the opening of a volume.
func (o *openings) of(v *unlock.Volume) *opening {
	return o.all[slices.IndexFunc(o.all, func(of *opening) bool { return &of.disk.Volume == v })]
}

// needed are the closed volumes that the boot cannot do without: those
// without nofail, or all if every one has it.
func (o *openings) needed() (closed []*opening) {
	o.mu.Lock()
	defer o.mu.Unlock()
	optional := func(v *opening) bool { return v.disk.planned.NoFail }
	all := slices.DeleteFunc(slices.Clone(o.all), optional)
	if len(all) == 0 {
		all = slices.Clone(o.all)
	}
	return slices.DeleteFunc(all, func(v *opening) bool { return v.open })
}

func (o *openings) enough() bool { return len(o.needed()) == 0 }

// wipe forgets all secrets.
func (o *openings) wipe() {
	for _, v := range o.all {
		wipeAll(v.keys)
		v.keys = nil
		v.mixer.Wipe()
	}
	for r := range o.renewers() {
		r.wipe()
	}
}

func wipeAll(keys []unlock.Candidate) {
	for _, k := range keys {
		k.Passphrase.Wipe()
	}
}

// A try is one attempt to open a volume.
type try struct {
	source.Key
	of   *opening
	by   string // the source
	from string // what the plan lists: the source, or a recipe that it is in
}

// openAll makes tries side by side and tells PID 1 of each volume that is
// open. They share the memory that is free.
func (w *worker) openAll(ctx context.Context, o *openings, tries []try) {
	w.awaitCiphers(ctx)
	w.lookAgain(ctx, o)
	limit := openDeadline(tries)
	var wg sync.WaitGroup
	for _, t := range tries {
		wg.Go(func() {
			opened, keys, err := unlock.Opened{}, []unlock.Candidate(nil), t.of.copied
			if err == nil {
				err = t.Err
			}
			if err == nil && t.of.mixer.Has(t.by) {
				err = w.mix(ctx, o, &t, limit)
			}
			if err == nil {
				opened, keys, err = w.openOne(ctx, o, t, limit)
				err = mixed(t, err)
			}
			o.mu.Lock()
			defer o.mu.Unlock()
			t.of.opened, t.of.keys, t.of.err, t.of.open = opened, keys, err, err == nil
			if t.of.open {
				close(t.of.opens)
			}
			if t.Err != nil {
				t.of.lost[t.by] = t.Err
			}
		})
	}
	wg.Wait()
}

// cipherPatience is how long dm-crypt and the ciphers may take to load.
const cipherPatience = 30 * time.Second

func (w *worker) awaitCiphers(ctx context.Context) {
	select {
	case <-w.ciphers:
	case <-time.After(cipherPatience): // the mapping will tell what is missing
	case <-ctx.Done():
	}
}

// lookAgain looks for what came while a source was at work, if any block
// device did: a second disk may take seconds to spin up. Copies are noted with
// the volume, and told, for who types a passphrase hears otherwise only that it
// opened nothing. More paths to a disk that is in use by nobody yet are mapped.
func (w *worker) lookAgain(ctx context.Context, o *openings) {
	select {
	case <-w.blocks:
	default:
		return // as the last look found it
	}
	var more []*disk
	for _, s := range w.search.look(context.Background()) {
		i := slices.IndexFunc(o.all, func(of *opening) bool { return of.disk.Name == s.volume.Name })
		if i < 0 || o.all[i].open {
			continue
		}
		of := o.all[i]
		of.copied = nil // anything else shows when the volume is opened
		if code := codes.Of(s.err); code == "volume-clones" || code == "volume-multipath" {
			of.copied = s.err
			w.search.arrays.tell(s.err)
		}
		if s.disk != nil && of.disk.gain(s.disk.paths) {
			more = append(more, of.disk)
		}
	}
	w.joinPaths(ctx, more)
}

// openDeadline is how long tries that are made side by side may take: what
// their keyslots cost on a machine of today, times eight for a slow one that
// tries two keys, and for the disk and the TPM besides. The tries wait for
// each other's memory, so each has the time of all.
func openDeadline(tries []try) time.Duration {
	d := 3 * time.Minute
	for _, t := range tries {
		d += 8 * t.of.disk.Header.Cost()
	}
	return d
}

// openOne opens one volume. The keys are returned if the try keeps them.
func (w *worker) openOne(ctx context.Context, o *openings, t try, limit time.Duration) (unlock.Opened, []unlock.Candidate, error) {
	d := t.of.disk
	type result struct {
		unlock.Opened
		keys []unlock.Candidate
	}
	r, err := step(ctx, w, "unlock", limit, func(ctx context.Context) (result, string, error) {
		if err := d.Judge(t.Want); err != nil { // before a sealed key is asked of the TPM
			return result{}, d.Name, err
		}
		keys, err := t.Passphrases(ctx)
		if err == nil {
			keys, err = w.salted(o, t.of, keys)
		}
		if err != nil {
			return result{}, d.Name, err
		}
		f, err := d.areas(w.sys.Open)
		if err != nil {
			wipeAll(keys)
			return result{}, d.Name, codes.Fail("volume-io", "opening %s: %w", d.Device, err)
		}
		defer f.Close()

		opened, err := d.Open(ctx, f, keys, t.Want, w.memory, w.sys.Map)
		if err == nil {
			w.hold(d, keys[opened.Candidate].Passphrase)
		}
		if err != nil || !t.Keep {
			wipeAll(keys)
			keys = nil
		}
		if err != nil {
			return result{}, d.Name, err
		}
		return result{opened, keys}, fmt.Sprintf("%s keyslot=%d", d.Name, opened.Slot), nil
	})
	if err != nil {
		return unlock.Opened{}, nil, err
	}

	if slices.Contains(d.Header.Flags(), "allow-discards") && !d.Options.AllowDiscards {
		w.log.Info("the header's flag allow-discards is not used: the plan's options count", "volume", d.Name)
	}
	return r.Opened, r.keys, w.conn.Send(wire.Record{Kind: wire.KindOpened, Name: d.Name, Slot: uint8(r.Slot), Digests: r.Measure, Text: t.from})
}
