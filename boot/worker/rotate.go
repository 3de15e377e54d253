package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
	"latchkey/unlock/tpm"
)

// rotateDeadline bounds a rotation: a few writes and two more exchanges
// with the KMS. A boot never fails for it; the next one goes on.
const rotateDeadline = 30 * time.Second

// rotate gives volumes the next secret that the KMS has for them, and ends
// what earlier boots began. It comes before the latch, while the TPM still
// proves and unseals. It replaces the grant by the one that it ends with.
func (w *worker) rotate(ctx context.Context, disks []*disk, from *grant, id *tpm.Identity, openings []opening) {
	defer wipeKeys(openings)
	r := &rotation{worker: w, disks: disks, from: from, id: id, openings: openings}
	if from.Grant == nil || id == nil || !r.needed() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, rotateDeadline)
	defer cancel()
	step(ctx, w, "rotate", 0, func(ctx context.Context) (struct{}, string, error) {
		if err := r.run(ctx); err != nil {
			w.log.Warn("the rotation of a volume's secret goes on at the next boot", "err", err)
			return struct{}{}, "unfinished", nil
		}
		return struct{}{}, fmt.Sprintf("volumes=%d", r.ended), nil
	})
}

// A rotation is all volumes' rotations of one boot.
type rotation struct {
	*worker
	disks    []*disk
	from     *grant
	id       *tpm.Identity
	openings []opening
	asked    bool // again, so that the grant shows what was committed
	ended    int
}

// concerns tells whether a volume has anything to rotate or to end.
func (r *rotation) concerns(i int) bool {
	d, g := r.disks[i], r.from.Volumes[i]
	return !d.Options.ReadOnly && (g.Staged.Kind != 0 || unlock.Unfinished(d.Header))
}

func (r *rotation) needed() bool {
	for i := range r.disks {
		if r.concerns(i) {
			return true
		}
	}
	return false
}

// run is the story: next keyslots, the report, and another grant, which
// shows what the KMS has committed. Only that lets old keyslots go.
func (r *rotation) run(ctx context.Context) error {
	if r.plan.Find.NoReport {
		return errors.New("the plan says that nothing is reported, and a rotation ends with a report")
	}
	var staged []kms.Result
	var errs []error

	for i := range r.disks {
		if !r.concerns(i) || r.from.Volumes[i].Staged.Kind == 0 {
			continue
		}
		seqID, err := r.stage(ctx, i)
		if err != nil {
			errs = append(errs, fmt.Errorf("volume %s: %w", r.disks[i].Name, err))
			continue
		}
		staged = append(staged, kms.Result{UUID: r.from.Volumes[i].UUID, Outcome: kms.OpenedStaged, SeqID: seqID})
	}

	if len(staged) > 0 {
		r.faults.At("rotate-staged")
		if err := r.from.client.Report(ctx, r.from.url, r.from.Grant, staged); err != nil {
			return errors.Join(append(errs, err)...)
		}
		r.faults.At("rotate-reported")
		if err := r.askAgain(ctx); err != nil {
			return errors.Join(append(errs, err)...)
		}
	}

	for i := range r.disks {
		if r.concerns(i) && r.from.Volumes[i].Staged.Kind == 0 {
			if err := r.end(ctx, i); err != nil {
				errs = append(errs, fmt.Errorf("volume %s: %w", r.disks[i].Name, err))
			}
		}
	}

	return errors.Join(errs...)
}

// stage gives a volume's next secret a keyslot. It returns the header's
// seqid.
func (r *rotation) stage(ctx context.Context, i int) (uint64, error) {
	one, done, err := r.open(i)
	if err != nil {
		return 0, err
	}
	defer done()
	var active, next secret.Bytes

	for _, k := range r.openings[i].keys {
		if k.Staged {
			next = k.Passphrase
		} else {
			active = k.Passphrase
		}
	}

	if r.from.Volumes[i].Staged.Kind == kms.Due {
		if next, err = r.mint(ctx, i); err != nil {
			return 0, err
		}
		defer next.Wipe()
	}

	if next.Len() == 0 {
		return 0, errors.New("the TPM does not give the next secret back")
	}
	slot := r.openings[i].Slot
	if r.openings[i].Staged {
		slot = -1
	}

	_, seqID, err := one.Stage(ctx, active, next, slot)
	return seqID, err
}

// mint makes the next secret of a volume that is bound to this TPM. The KMS
// has it before it has a keyslot.
func (r *rotation) mint(ctx context.Context, i int) (_ secret.Bytes, err error) {
	next := secret.Random(32)
	defer func() {
		if err != nil {
			next.Wipe()
		}
	}()

	blob, err := r.id.Seal(ctx, next)
	if err != nil {
		return next, err
	}

	again, err := r.id.Unseal(ctx, blob)
	defer again.Wipe()
	if err == nil && !again.Equal(next) {
		err = errors.New("sealing the next secret: the TPM gives another one back")
	}
	if err != nil {
		return next, err
	}

	want, err := r.disks[i].Wanted()
	if err != nil {
		return next, err
	}

	offer := kms.Offer{UUID: want.UUID, Kind: kms.Bound, Secret: secret.Own(blob)}
	g, err := r.from.client.Deposit(ctx, r.from.url, r.id, kms.Stage, []kms.Want{want}, []kms.Offer{offer})
	if err != nil {
		return next, err
	}
	defer g.Wipe()
	return next, granted(g)
}

// askAgain replaces the grant by one that shows what the KMS has now.
func (r *rotation) askAgain(ctx context.Context) error {
	wants := make([]kms.Want, len(r.disks))
	for i, d := range r.disks {
		if err := r.reread(d); err != nil {
			return err
		}
		var err error
		if wants[i], err = d.Wanted(); err != nil {
			return err
		}
	}

	g, err := r.from.client.Get(ctx, r.from.url, r.id, wants)
	if err != nil {
		return err
	}

	if err := granted(g); err != nil {
		return err
	}
	r.from.Wipe()
	r.from.Grant, r.asked = g, true
	for i, d := range r.disks {
		r.openings[i].report.SeqID = d.Header.SeqID()
	}

	return nil
}

func (r *rotation) reread(d *disk) error {
	f, err := os.Open(d.Device)
	if err != nil {
		return err
	}
	defer f.Close()
	h, err := luks2.Read(f, d.block.SizeBytes)
	if err == nil {
		d.Header = h
	}
	return err
}

// end removes the keyslot that nobody needs any more, going by the one
// that the KMS' only secret opens.
func (r *rotation) end(ctx context.Context, i int) error {
	one, done, err := r.open(i)
	if err != nil {
		return err
	}
	defer done()
	slot := r.openings[i].Slot // by the only secret there was
	if r.asked {
		keys, err := unlock.Granted(ctx, r.from.Volumes[i], r.id)
		defer wipeAll(keys)
		if err != nil {
			return err
		}
		volume, opened, err := r.disks[i].Header.Unlock(ctx, one.Disk, luks2.Attempt{Passphrase: keys[0].Passphrase, Slot: luks2.AnySlot, Memory: one.Memory})
		volume.Wipe()
		if err != nil {
			return err
		}
		slot = opened
	}

	if err := one.Tidy(slot); err != nil {
		return err
	}
	r.ended++
	return nil
}

// open opens a volume's device for writing its header. The mapping, which
// has the device already, does not reach there.
func (r *rotation) open(i int) (one *unlock.Rotation, done func(), err error) {
	d := r.disks[i]
	f, err := os.OpenFile(d.Device, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	return &unlock.Rotation{Disk: f, SizeBytes: d.block.SizeBytes, Node: r.id.NodeID(), KMS: r.from.client.Pins, Mode: r.from.Volumes[i].Active.Kind, Memory: luks2.NewMemory(freeBytes())}, func() { f.Close() }, nil
}
