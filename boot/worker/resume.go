package worker

import (
	"latchkey/boot/codes"
	"latchkey/boot/wire"
	"latchkey/internal/plan"
)

// chooseResume finds the mapping in which a hibernated system may be, and
// tells PID 1. What is none of the opened volumes is said, and nothing is
// taken up from it: who writes such a swap would run on this machine.
func (w *worker) chooseResume(in *inside) error {
	wanted := w.plan.Resumes()
	for _, want := range wanted {
		r, err := in.find(want)
		if err != nil {
			w.waiting(codes.Fail("resume-missing", "resume=%s: %w", want, err))
			continue
		}
		if r.name != "" {
			return w.conn.Send(wire.Record{Kind: wire.KindSwap, Name: r.name, Text: r.super.Type})
		}
		w.waiting(codes.Fail("resume-missing", "resume=%s is none of the opened volumes: %s", want, in.seen()))
	}
	return nil
}

// find is the mapping that a device of the plan means, as root= would; one
// without a name if it is none. A logical volume is mapped.
func (in *inside) find(want string) (r root, err error) {
	w := in.worker
	group, volume, logical := w.plan.LogicalRoot(plan.Root{Device: want})
	for _, v := range in.open {
		if !logical && v.err == nil && v.super.Type != memberType && v.super.Type != arrayType && in.means(want, v) {
			return root{v.name, v.super}, nil
		}
	}
	for _, v := range in.set.Visible() {
		super, err := in.content(v)
		if logical && v.String() != group+"/"+volume || !logical && (err != nil || !isFileSystem(want, &super)) {
			continue
		}
		if err != nil {
			return root{}, err
		}
		return root{v.MappingName(), super}, in.activate(v)
	}
	return root{}, nil
}
