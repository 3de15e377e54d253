package worker

import (
	"context"
	"time"

	"latchkey/discover"
	"latchkey/kms"
)

// A grant is what a KMS gave, and which one it was.
type grant struct {
	*kms.Grant
	id     Identity
	server Server
	url    string
	from   discover.Candidate
	asked  []*disk // what each of Volumes is for
}

// of is the KMS' answer for a disk; ok is false if it was not asked for it.
func (g *grant) of(d *disk) (granted kms.Granted, ok bool) {
	for i, asked := range g.asked {
		if asked == d {
			return g.Volumes[i], true
		}
	}
	return kms.Granted{}, false
}

// reportWait bounds the report to the KMS; the boot goes on beside it.
const reportWait = time.Second

// report tells the KMS what became of its grant: best effort.
func (w *worker) report(ctx context.Context, o *openings) {
	if w.plan.Find.NoReport || o.grant == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, reportWait)
	defer cancel()
	results := o.results()
	step(ctx, w, "report", 0, func(ctx context.Context) (struct{}, string, error) {
		return struct{}{}, "", o.grant.server.Report(ctx, o.grant.url, o.grant.Grant, results)
	})
}

// results are what is reported of the volumes that the grant is for.
func (o *openings) results() (all []kms.Result) {
	for _, v := range o.all {
		g, ok := o.grant.of(v.disk)
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
