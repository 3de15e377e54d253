package worker

import (
	"context"
	"errors"
	"time"

	"latchkey/boot/codes"
	"latchkey/discover"
	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/unlock/tpm"
)

// A grant is what a KMS gave, and which one it was; or what was typed.
type grant struct {
	*kms.Grant
	client *kms.Client
	url    string
	from   discover.Candidate
	typed  []secret.Bytes // for each volume, instead of a KMS' grant
}

func (g *grant) wipe() {
	if g.Grant != nil {
		g.Grant.Wipe()
	}
	for _, t := range g.typed {
		t.Wipe()
	}
}

// keys has the KMS asked, and people at the console if the plan says so:
// the first that can open the volumes counts.
func (w *worker) keys(ctx context.Context, n *network, id *tpm.Identity, disks []*disk) (*grant, error) {
	if !w.plan.Prompts() {
		return w.ask(ctx, n, id, disks)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		grant *grant
		err   error
	}

	answers := make(chan answer, 2)
	after, waiting := time.Duration(0), 1
	if id != nil {
		after, waiting = promptAfter, 2
		go func() {
			g, err := w.ask(ctx, n, id, disks)
			answers <- answer{g, err}
		}()
	}

	go func() {
		typed, err := w.prompt(ctx, disks, after)
		answers <- answer{&grant{typed: typed}, err}
	}()
	var errs []error

	for range waiting {
		a := <-answers
		if a.err == nil {
			return a.grant, nil
		}
		w.waiting(a.err)
		errs = append(errs, a.err)
	}

	return nil, errors.Join(errs...)
}

// granted makes the refusal of one volume the refusal of all: a boot
// needs every volume that was asked for.
func granted(g *kms.Grant) error {
	for _, v := range g.Volumes {
		if v.Status != kms.OK {
			g.Wipe()
			return codes.Fail(v.Status.Code(), "volume %s: the key server says %s", v.UUID, v.Status.Code())
		}
	}
	return nil
}

// reportWait bounds the report to the KMS; the boot goes on beside it.
const reportWait = time.Second

// report tells the KMS what became of its grant: best effort.
func (w *worker) report(ctx context.Context, g *grant, openings []opening) {
	if w.plan.Find.NoReport || g.Grant == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, reportWait)
	defer cancel()
	var results []kms.Result
	for _, o := range openings {
		results = append(results, o.report)
	}
	step(ctx, w, "report", 0, func(ctx context.Context) (struct{}, string, error) {
		return struct{}{}, "", g.client.Report(ctx, g.url, g.Grant, results)
	})
}
