package plan

import "fmt"

// OverlayTmpfs is Root.Overlay where what is written to the root stays in
// memory.
const OverlayTmpfs = "tmpfs"

// OverlayDevice is the device to which what is written to the root goes; ""
// if there is no overlay, or it is in memory.
func (r Root) OverlayDevice() string {
	if r.Overlay == OverlayTmpfs {
		return ""
	}
	return r.Overlay
}

func (p *Plan) checkOverlay() error {
	if err := p.checkDevice(p.Root.OverlayDevice()); err != nil {
		return fmt.Errorf("root.overlay is %q, want tmpfs or a device: %w", p.Root.Overlay, err)
	}
	return nil
}

// overlayHint is rd.latchkey.overlay=. An overlay in memory hides nothing
// that the root holds and brings nothing in: it is a hint. What is on a device
// takes the place of the root's files, and an overlay that the image asks for
// keeps the root as it is: both are the image's to say.
func overlayHint(p *Plan, a Arg) string {
	switch {
	case a.Value == p.ImageRoot.Overlay && a.Value != "":
	case p.ImageRoot.Overlay != "":
		return "not used: the image's root.overlay is " + p.ImageRoot.Overlay + ", and stays"
	case a.Value == OverlayTmpfs:
		p.Root.Overlay = OverlayTmpfs
	case a.HasValue && switchedOff(a):
		p.Root.Overlay = ""
	default:
		return "not used: want tmpfs. What lies over the root on a device is the image's to say (root.overlay in latchkey.yaml)"
	}
	return ""
}
