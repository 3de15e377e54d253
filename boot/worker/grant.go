package worker

import (
	"context"
	"errors"
	"slices"
	"time"

	"latchkey/boot/codes"
	"latchkey/discover"
	"latchkey/internal/plan"
	"latchkey/kms"
	"latchkey/unlock"
	"latchkey/unlock/source"
)

// A grant is what a KMS gave, and which one it was.
type grant struct {
	*kms.Grant
	id     Identity
	server Server
	url    string
	from   discover.Candidate
	asked  []*unlock.Volume // what each of Volumes is for
}

// of is the KMS' answer for a disk; ok is false if it was not asked for it.
func (g *grant) of(d *disk) (granted kms.Granted, ok bool) {
	for i, asked := range g.asked {
		if asked == &d.Volume {
			return g.Volumes[i], true
		}
	}
	return kms.Granted{}, false
}

// try opens what a KMS granted. It fails if a volume that the boot waits
// for stays closed: the KMS has no other key for it.
func (k *keyServer) try(ctx context.Context, to source.Opener, g *grant) error {
	if !g.provesAgain() {
		go k.identity.close() // while keyslots are tried, the TPM has nothing else to do
	}
	offer := source.Offer{Taken: func() { k.grant = g }}
	for i, v := range g.asked {
		granted := g.Volumes[i]
		key := source.Key{Volume: v, Want: unlock.Expect{Digest: granted.Digest, MAC: granted.MAC}, Keep: granted.Staged.Kind != 0}
		key.Passphrases = func(ctx context.Context) ([]unlock.Candidate, error) { return unlock.Granted(ctx, granted, g.id) }
		if granted.Status != kms.OK {
			key.Err = refusal(granted)
		}
		offer.Keys = append(offer.Keys, key)
	}

	var errs []error
	for i, err := range to.Try(ctx, offer) {
		if err != nil && to.Needed(g.asked[i]) {
			errs = append(errs, err)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(errs...)
}

// takesPush tells whether the plan lets a person push a volume's passphrase.
func (w *worker) takesPush(v *unlock.Volume) bool {
	return slices.ContainsFunc(w.plan.Volumes, func(p plan.Volume) bool {
		return p.Name == v.Name && slices.Contains(p.Sources, plan.SourcePush)
	})
}

// provesAgain tells whether what was granted needs the TPM's keys once more:
// to unseal it, or to prove for a rotation, see rotation.volumes.
func (g *grant) provesAgain() bool {
	for i, v := range g.Volumes {
		if v.Active.Kind == kms.Bound || v.Staged.Kind != 0 || unlock.Unfinished(g.asked[i].Header) {
			return true
		}
	}
	return false
}

// refusal is the error of a volume that a KMS does not give.
func refusal(g kms.Granted) error {
	return codes.Fail(g.Status.Code(), "volume %s: the key server says %s", g.UUID, g.Status.Code())
}

// wipe forgets the grant.
func (k *keyServer) wipe() {
	if k.grant != nil {
		k.grant.Wipe()
	}
}

// reportWait bounds the report to the KMS; the boot goes on beside it.
const reportWait = time.Second

// report tells the KMS what became of its grant: best effort.
func (k *keyServer) report(ctx context.Context, o *openings) {
	if k.worker.plan.Find.NoReport || k.grant == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, reportWait)
	defer cancel()
	results := k.results(o)
	step(ctx, k.worker, "report", 0, func(ctx context.Context) (struct{}, string, error) {
		return struct{}{}, "", k.grant.server.Report(ctx, k.grant.url, k.grant.Grant, results)
	})
}

// results are what is reported of the volumes that the grant is for.
func (k *keyServer) results(o *openings) (all []kms.Result) {
	for _, v := range o.all {
		g, ok := k.grant.of(v.disk)
		if !ok || g.Status != kms.OK {
			continue
		}
		r := kms.Result{UUID: g.UUID, Outcome: kms.NotOpened, SeqID: v.disk.Header.SeqID()}
		if v.open {
			r.Outcome = kms.OpenedActive
			if v.opened.Staged && g.Staged.Kind != 0 {
				r.Outcome = kms.OpenedStaged
			}
			if len(g.MAC) == 0 {
				r.MAC = v.opened.MAC[:]
			}
		}
		all = append(all, r)
	}
	return all
}
