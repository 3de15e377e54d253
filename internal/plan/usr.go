package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Usr is what becomes "/usr" before the real root's init runs. The zero
// value is none: the root has it.
type Usr struct {
	// Device selects inside the plan's volumes, as Root.Device does; "" is
	// where the root is, as with a subvolume.
	Device string `json:"device,omitempty"`
	FSType string `json:"fstype,omitempty"`
	Flags  string `json:"flags,omitempty"`
}

// Usrs are the file systems to try as "/usr", in order: as the command line
// has it, and as the image alone has it. None is named twice.
func (p *Plan) Usrs() (all []Usr) {
	for _, u := range []struct {
		usr  Usr
		root Root
	}{{p.Usr, p.Root}, {p.ImageUsr, p.ImageRoot}} {
		if u.usr == (Usr{}) {
			continue
		}
		usr := u.usr
		usr.Device = cmp.Or(usr.Device, p.RootDevice(u.root))
		if usr.Device == p.RootDevice(u.root) {
			usr.Flags = cmp.Or(usr.Flags, u.root.Flags)
		}
		if !slices.Contains(all, usr) {
			all = append(all, usr)
		}
	}
	return all
}

// As is the file system as a root would be mounted: read-only unless its
// flags say otherwise, or the root is not and they do not say.
func (u Usr) As(r Root) Root {
	for o := range strings.SplitSeq(u.Flags, ",") {
		if o == "ro" || o == "rw" {
			r.ReadWrite = o == "rw"
		}
	}
	return Root{Device: u.Device, FSType: u.FSType, Flags: u.Flags, ReadWrite: r.ReadWrite}
}

func (p *Plan) checkUsr() error {
	u := p.Usr
	if err := p.checkDevice(u.Device); err != nil {
		return fmt.Errorf("usr.device is %q: %w", u.Device, err)
	}
	return checkMount("usr", u.FSType, u.Flags)
}

// checkMount judges how a file system is mounted.
func checkMount(field, fstype, flags string) error {
	if fstype != "" && !slices.Contains(fileSystems, fstype) {
		return fmt.Errorf("%s.fstype is %q, want one of %s", field, fstype, strings.Join(fileSystems, ", "))
	}
	if len(flags) > maxFlags || !printable(flags) {
		return fmt.Errorf("%s.flags is %.80q, want mount options of at most %d printable characters", field, flags, maxFlags)
	}
	return nil
}

// usrHint is mount.usr=, mount.usrfstype= and mount.usrflags= of
// systemd-fstab-generator(8). They give a /usr to a root whose image names
// none; what the image names, no hint replaces: real roots have their init
// there.
func usrHint(p *Plan, a Arg) string {
	u := p.Usr
	switch {
	case a.Is("mount.usrfstype"):
		if u.FSType = a.Value; a.Value == "auto" {
			u.FSType = ""
		}
	case a.Is("mount.usrflags"):
		u.Flags = a.Value
	case a.Value == "":
		return "names no device; /usr is as the image has it"
	default:
		u.Device = a.Value
	}
	if p.ImageUsr != (Usr{}) && u != p.ImageUsr {
		return "not used: what is /usr is the image's to say (usr in latchkey.yaml)"
	}
	p.Usr = u
	return ""
}
