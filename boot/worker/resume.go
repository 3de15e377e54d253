package worker

import (
	"latchkey/boot/codes"
	"latchkey/boot/device"
	"latchkey/boot/wire"
	"latchkey/internal/plan"
)

// chooseResume finds the mapping in which a hibernated system may be, and
// tells PID 1. What is none of the opened volumes is said, and nothing is
// taken up from it: who writes such a swap would run on this machine.
func (w *worker) chooseResume(in *inside) error {
	wanted := w.plan.Resumes()
	for _, want := range wanted {
		name, super, err := w.findResume(want, in)
		if err != nil {
			w.waiting(err)
			continue
		}
		if name != "" {
			return w.conn.Send(wire.Record{Kind: wire.KindSwap, Name: name, Text: super.Type})
		}
		w.waiting(codes.Fail("resume-missing", "resume=%s is none of the opened volumes: %s", want, in.seen()))
	}
	return nil
}

// findResume is the name of the mapping that resume= means, "" if it is none.
func (w *worker) findResume(want string, in *inside) (name string, super device.Super, err error) {
	group, volume, logical := w.plan.LogicalRoot(plan.Root{Device: want})
	for _, v := range in.open {
		if !logical && v.err == nil && v.super.Type != memberType && w.isRoot(want, v.disk, v.super) {
			return v.disk.Name, v.super, nil
		}
	}
	for _, v := range in.set.Visible() {
		super, err := in.content(v)
		if logical && v.String() != group+"/"+volume || !logical && (err != nil || !isFileSystem(want, &super)) {
			continue
		}
		if err != nil {
			return "", super, codes.Fail("resume-missing", "resume=%s: %w", want, err)
		}
		return v.MappingName(), super, in.activate(v)
	}
	return "", device.Super{}, nil
}
