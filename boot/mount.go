package boot

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"latchkey/boot/wire"
	"latchkey/internal/mapping"
	"latchkey/internal/plan"
)

// Where the parts of a root with an overlay are mounted. /run moves into the
// real root, and they with it.
const (
	lower   = "/run/latchkey/lower"
	written = "/run/latchkey/overlay"
)

// mountRoot mounts the root and what belongs to it.
func (b *pid1) mountRoot() error {
	start := b.sys.Now()
	mappings, err := b.sys.Mappings()
	if err != nil {
		return &StepError{"root", "root-unusable", err}
	}
	if err := b.judgeRoot(mappings); err != nil {
		return err
	}

	var failed error
	roots := b.plan.Roots()
	for i, root := range roots {
		err := b.mountAs(root, mappings)
		if err == nil {
			b.step("root", start, fmt.Sprintf("%s type=%s %s", b.root.Name, cmp.Or(root.FSType, b.root.Text), modeOf(root)))
			return b.mountUsr(root, mappings)
		}
		failed = cmp.Or(failed, err)
		b.unmount()
		if i < len(roots)-1 {
			b.sys.Log(Human, "root-unusable: "+failed.Error()+": the command line is wrong; mounting it as the image says")
		}
	}
	return &StepError{"root", "root-unusable", failed}
}

// mountAs mounts the root as one of the plan's roots has it.
func (b *pid1) mountAs(root plan.Root, mappings map[string]Mapping) error {
	if root.Overlay == "" {
		return b.mountFrom(b.root, sysroot, root)
	}
	below := root
	below.ReadWrite = false
	if err := b.mountFrom(b.root, lower, below); err != nil {
		return err
	}
	if err := b.mountWritten(root, mappings); err != nil {
		return err
	}
	for _, dir := range []string{"/upper", "/work"} {
		if err := b.sys.Mkdir(written + dir); err != nil {
			return fmt.Errorf("making the overlay's folders on %s: %w", root.Overlay, err)
		}
	}

	flags, _ := mountFlags(root)
	flags[0] = "rw"
	err := b.mount(Mount{"overlay", sysroot, "overlay", flags, "lowerdir=" + lower + ",upperdir=" + written + "/upper,workdir=" + written + "/work"})
	if err != nil {
		return fmt.Errorf("mounting an overlay over the root: %w (is the module overlay in the image?)", err)
	}
	return nil
}

// mountWritten mounts what takes the writes to a root with an overlay.
func (b *pid1) mountWritten(root plan.Root, mappings map[string]Mapping) error {
	if root.OverlayDevice() == "" {
		if err := b.mount(Mount{"tmpfs", written, "tmpfs", []string{"rw"}, "mode=0755"}); err != nil {
			return fmt.Errorf("mounting the memory for the overlay: %w", err)
		}
		return nil
	}
	if err := b.judge(b.overlay.Name, mappings); err != nil {
		return err
	}
	return b.mountFrom(b.overlay, written, plan.Root{ReadWrite: true})
}

// mountUsr mounts /usr, if the root has it not: by the same rule as the root,
// only from what this boot opened. What the command line alone wants ends no
// boot.
func (b *pid1) mountUsr(root plan.Root, mappings map[string]Mapping) error {
	if b.usr.Name == "" {
		return nil
	}
	start := b.sys.Now()
	if err := b.judge(b.usr.Name, mappings); err != nil {
		return &StepError{"usr", "usr-missing", err}
	}
	var failed error
	for _, u := range b.plan.Usrs() {
		as := u.As(root)
		err := b.mountFrom(b.usr, sysroot+"/usr", as)
		if err == nil {
			b.step("usr", start, fmt.Sprintf("%s type=%s %s", b.usr.Name, cmp.Or(u.FSType, b.usr.Text), modeOf(as)))
			return nil
		}
		failed = cmp.Or(failed, err)
	}
	if b.plan.ImageUsr == (plan.Usr{}) {
		b.sys.Log(Human, "usr-unusable: "+failed.Error()+": the command line is wrong; the root is used as it is")
		return nil
	}
	return &StepError{"usr", "usr-unusable", failed}
}

// mountFrom mounts what the worker found. Nothing says a wrong type louder
// than the kernel.
func (b *pid1) mountFrom(found wire.Record, target string, as plan.Root) error {
	flags, data := mountFlags(as)
	fstype := cmp.Or(as.FSType, found.Text)
	if err := b.mount(Mount{mapping.Path(found.Name), target, fstype, flags, data}); err != nil {
		return fmt.Errorf("mounting %s as %s: %w", found.Name, fstype, err)
	}
	return nil
}

func (b *pid1) mount(m Mount) error {
	err := within(mountWait, func() error { return b.sys.Mount(m) })
	if err == nil {
		b.mounts = append(b.mounts, m.Target)
	}
	return err
}

// unmount undoes the mounts, the last first.
func (b *pid1) unmount() {
	for _, target := range slices.Backward(b.mounts) {
		b.tell("unmounting "+target+": ", within(callWait, func() error { return b.sys.Unmount(target) }))
	}
	b.mounts = nil
}

func modeOf(r plan.Root) string {
	mode := "ro"
	if r.ReadWrite {
		mode = "rw"
	}
	if r.Overlay != "" {
		mode += " overlay=" + r.Overlay
	}
	return mode
}

// mountFlags parts the root's options into those that are flags of
// mount(2) and those that the file system reads; "defaults" means none.
func mountFlags(r plan.Root) (flags []string, data string) {
	flags = []string{"ro"}
	if r.ReadWrite {
		flags[0] = "rw"
	}
	var rest []string

	for o := range strings.SplitSeq(r.Flags, ",") {
		switch {
		case o == "" || o == "defaults" || o == "ro" || o == "rw":
		case mountFlag(o) != 0:
			flags = append(flags, o)
		default:
			rest = append(rest, o)
		}
	}

	return flags, strings.Join(rest, ",")
}
