package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
)

// rotateDeadline bounds a rotation: a few writes and two more exchanges
// with the KMS. A boot never fails for it; the next one goes on.
const rotateDeadline = 30 * time.Second

// renew gives volumes the next secret that the KMS has for them, and ends
// what earlier boots began. It comes before the latch, while the TPM still
// proves and unseals. It replaces the grant by the one that it ends with.
func (k *keyServer) renew(ctx context.Context, o *openings) {
	r := &rotation{worker: k.worker, grant: k.grant, openings: o}
	k.leaveParts(o)
	if k.grant == nil || len(r.volumes()) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, rotateDeadline)
	defer cancel()
	step(ctx, k.worker, "rotate", 0, func(ctx context.Context) (struct{}, string, error) {
		if err := r.run(ctx); err != nil {
			k.worker.log.Warn("the rotation of a volume's secret goes on at the next boot", "err", err)
			return struct{}{}, "unfinished", nil
		}
		return struct{}{}, fmt.Sprintf("volumes=%d", r.ended), nil
	})
}

// A rotation is all volumes' rotations of one boot.
type rotation struct {
	worker   *worker
	grant    *grant
	openings *openings
	asked    bool // again, so that the grant shows what was committed
	ended    int
}

// volumes are those that a grant opened and that have anything to rotate or
// to end. A header that is in the image or on a stick is not written to.
func (r *rotation) volumes() (all []*opening) {
	for _, v := range r.openings.all {
		g, ok := r.grant.of(v.disk)
		if ok && g.Status == kms.OK && v.open && !v.disk.Options.ReadOnly && v.disk.header == nil && v.mixer == nil && (g.Staged.Kind != 0 || unlock.Unfinished(v.disk.Header)) {
			all = append(all, v)
		}
	}
	return all
}

// staged is the next secret that the KMS has for a volume.
func (r *rotation) staged(v *opening) kms.Material {
	g, _ := r.grant.of(v.disk)
	return g.Staged
}

// run is the story: next keyslots, the report, and another grant, which
// shows what the KMS has committed. Only that lets old keyslots go.
func (r *rotation) run(ctx context.Context) error {
	if r.worker.plan.Find.NoReport {
		return errors.New("the plan says that nothing is reported, and a rotation ends with a report")
	}
	staged, errs := r.stageAll(ctx)
	if len(staged) > 0 {
		from := r.grant
		r.worker.faults.At("rotate-staged")
		if err := from.server.Report(ctx, from.url, from.Grant, staged); err != nil {
			return errors.Join(append(errs, err)...)
		}
		r.worker.faults.At("rotate-reported")
		if err := r.askAgain(ctx); err != nil {
			return errors.Join(append(errs, err)...)
		}
	}

	for _, v := range r.volumes() {
		if r.staged(v).Kind != 0 {
			continue
		}
		if err := r.end(ctx, v); err != nil {
			errs = append(errs, fmt.Errorf("volume %s: %w", v.disk.Name, err))
		}
	}

	return errors.Join(errs...)
}

// stageAll gives volumes their next secret and returns what to report.
func (r *rotation) stageAll(ctx context.Context) (staged []kms.Result, errs []error) {
	for _, v := range r.volumes() {
		if r.staged(v).Kind == 0 {
			continue
		}
		seqID, err := r.stage(ctx, v)
		if err != nil {
			errs = append(errs, fmt.Errorf("volume %s: %w", v.disk.Name, err))
			continue
		}
		g, _ := r.grant.of(v.disk)
		staged = append(staged, kms.Result{UUID: g.UUID, Outcome: kms.OpenedStaged, SeqID: seqID})
	}
	return staged, errs
}

// stage gives a volume's next secret a keyslot. It returns the header's
// seqid.
func (r *rotation) stage(ctx context.Context, v *opening) (uint64, error) {
	one, done, err := r.change(v)
	if err != nil {
		return 0, err
	}
	defer done()
	var active, next secret.Bytes

	for _, k := range v.keys {
		if k.Staged {
			next = k.Passphrase
		} else {
			active = k.Passphrase
		}
	}

	if r.staged(v).Kind == kms.Due {
		if next, err = r.mint(ctx, v); err != nil {
			return 0, err
		}
		defer next.Wipe()
	}

	if next.Len() == 0 {
		return 0, errors.New("the TPM does not give the next secret back")
	}
	_, seqID, err := one.Stage(ctx, active, next, v.opened)
	return seqID, err
}

// mint makes the next secret of a volume that is bound to this TPM. The KMS
// has it before it has a keyslot.
func (r *rotation) mint(ctx context.Context, v *opening) (_ secret.Bytes, err error) {
	from := r.grant
	next := secret.Random(32)
	defer func() {
		if err != nil {
			next.Wipe()
		}
	}()

	blob, err := from.id.Seal(ctx, next)
	if err != nil {
		return next, err
	}

	again, err := from.id.Unseal(ctx, blob)
	defer again.Wipe()
	if err == nil && !again.Equal(next) {
		err = errors.New("sealing the next secret: the TPM gives another one back")
	}
	if err != nil {
		return next, err
	}

	want, err := v.disk.Wanted()
	if err != nil {
		return next, err
	}

	offer := kms.Offer{UUID: want.UUID, Kind: kms.Bound, Secret: secret.Own(blob)}
	g, err := from.server.Deposit(ctx, from.url, from.id, kms.Stage, []kms.Want{want}, []kms.Offer{offer})
	if err != nil {
		return next, err
	}
	defer g.Wipe()
	if g.Volumes[0].Status != kms.OK {
		return next, refusal(g.Volumes[0])
	}
	return next, nil
}

// askAgain replaces the grant by one that shows what the KMS has now.
func (r *rotation) askAgain(ctx context.Context) error {
	from := r.grant
	wants := make([]kms.Want, len(from.asked))
	for i, v := range from.asked {
		if err := r.reread(r.openings.of(v).disk); err != nil {
			return err
		}
		var err error
		if wants[i], err = v.Wanted(); err != nil {
			return err
		}
	}

	g, err := from.server.Get(ctx, from.url, from.id, wants)
	if err != nil {
		return err
	}

	from.Wipe()
	from.Grant, r.asked = g, true
	return nil
}

func (r *rotation) reread(d *disk) error {
	f, err := r.worker.sys.Open(d.Device, false)
	if err != nil {
		return err
	}
	defer f.Close()
	h, err := accept(d.planned).Read(f, d.block.SizeBytes)
	if err == nil {
		d.Header = h
	}
	return err
}

// end removes the keyslot that nobody needs any more, going by the one
// that the KMS' only secret opens.
func (r *rotation) end(ctx context.Context, v *opening) error {
	one, done, err := r.change(v)
	if err != nil {
		return err
	}
	defer done()
	slot := v.opened.Slot // by the only secret there was
	if r.asked {
		if slot, err = r.opens(ctx, v, one); err != nil {
			return err
		}
	}

	n, err := one.Tidy(slot)
	if n > 0 {
		r.ended++
	}
	return err
}

// opens is the keyslot that the only secret of the new grant opens.
func (r *rotation) opens(ctx context.Context, v *opening, one *unlock.Rotation) (slot int, err error) {
	g, _ := r.grant.of(v.disk)
	keys, err := unlock.Granted(ctx, g, r.grant.id)
	defer wipeAll(keys)
	if err != nil {
		return 0, err
	}
	if len(keys) == 0 {
		return 0, errors.New("the key server has no secret any more")
	}
	volume, slot, err := v.disk.Header.Unlock(ctx, one.Disk, luks2.Attempt{Passphrase: keys[0].Passphrase, Slot: luks2.AnySlot, Memory: one.Memory})
	volume.Wipe()
	if err == nil {
		r.worker.hold(v.disk, keys[0].Passphrase) // the old keyslot is about to go
	}
	return slot, err
}

// change opens a volume's device for writing its header. The mapping, which
// has the device already, does not reach there.
func (r *rotation) change(v *opening) (one *unlock.Rotation, done func(), err error) {
	f, err := r.worker.sys.Open(v.disk.Device, true)
	if err != nil {
		return nil, nil, err
	}
	from := r.grant
	g, _ := from.of(v.disk)
	return &unlock.Rotation{
		Disk: f, SizeBytes: v.disk.block.SizeBytes, Node: from.id.NodeID(), KMS: from.Pin, Mode: g.Active.Kind, Memory: r.worker.memory, Accept: accept(v.disk.planned),
	}, func() { f.Close() }, nil
}
