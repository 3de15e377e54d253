package worker

import (
	"fmt"

	"latchkey/boot/codes"
	"latchkey/boot/wire"
	"latchkey/internal/plan"
)

// chooseUsr finds the mapping with /usr, if the root has it not, and tells
// PID 1. What the command line alone wants ends no boot.
func (w *worker) chooseUsr(in *inside) error {
	usrs := w.plan.Usrs()
	for i, u := range usrs {
		r, err := in.usr(u)
		switch {
		case err == nil:
			w.loadFor(r, u.FSType)
			return w.conn.Send(wire.Record{Kind: wire.KindUsr, Name: r.name, Text: r.super.Type})
		case i < len(usrs)-1:
			w.waiting(fmt.Errorf("%w: the command line is wrong; using the image's /usr", err))
		case w.plan.ImageUsr == (plan.Usr{}):
			w.waiting(fmt.Errorf("%w: the command line is wrong; using the root as it is", err))
		default:
			return err
		}
	}
	return nil
}

func (in *inside) usr(u plan.Usr) (r root, err error) {
	r, err = in.find(u.Device)
	switch {
	case err != nil:
		return r, err
	case r.name == "":
		return r, codes.Fail("usr-missing", "%s, which is to be /usr, is none of the opened volumes: %s", u.Device, in.seen())
	case r.super.Type == arrayType:
		return r, codes.Fail("usr-unusable", "%s, which is to be /usr, holds a member of an array, and no array on logical volumes is run", r.name)
	case r.super.Type == "" && u.FSType == "":
		return r, codes.Fail("usr-unusable", "no file system is recognized in %s, which is to be /usr: name it in usr.fstype", r.name)
	}
	return r, in.join(r, u.Flags)
}

// chooseOverlay finds the mapping that takes what is written to the root, and
// tells PID 1. Only the image can name one.
func (w *worker) chooseOverlay(in *inside) error {
	if w.plan.Root.Overlay == "" {
		return nil
	}
	w.loader.Named("overlay")
	want := w.plan.Root.OverlayDevice()
	if want == "" {
		return nil
	}
	r, err := in.find(want)
	if err == nil && r.name == "" {
		err = codes.Fail("overlay-missing", "root.overlay=%s is none of the opened volumes: %s", want, in.seen())
	}
	if err == nil {
		err = in.join(r, "")
	}
	if err != nil {
		return err
	}
	w.loadFor(r)
	return w.conn.Send(wire.Record{Kind: wire.KindOverlay, Name: r.name, Text: r.super.Type})
}
