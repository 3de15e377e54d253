package plan_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"latchkey/internal/plan"
)

// TestUsr: what is tried as /usr, in order.
func TestUsr(t *testing.T) {
	usr := func(u plan.Usr) func(*plan.Plan) { return func(p *plan.Plan) { p.Usr = u } }
	for _, tt := range []struct {
		name    string
		change  func(*plan.Plan)
		cmdline string
		want    []plan.Usr
		problem string
	}{
		{"none", usr(plan.Usr{}), "", nil, ""},
		{"the image's", usr(plan.Usr{Device: "/dev/vg/usr", FSType: "xfs"}), "", []plan.Usr{{"/dev/vg/usr", "xfs", ""}}, ""},
		{"the command line's", usr(plan.Usr{}), "mount.usr=UUID=x mount.usrfstype=erofs mount.usrflags=nodev", []plan.Usr{{"UUID=x", "erofs", "nodev"}}, ""},
		{"another one than the image's", usr(plan.Usr{Device: "LABEL=usr"}), "mount.usr=LABEL=other", []plan.Usr{{"LABEL=usr", "", ""}}, "the image's to say"},
		{"other flags than the image's", usr(plan.Usr{Device: "LABEL=usr"}), "mount.usrflags=rw", []plan.Usr{{"LABEL=usr", "", ""}}, "the image's to say"},
		{"another place than the root, where the image has it", usr(plan.Usr{Flags: "subvol=@usr"}), "mount.usr=LABEL=other", []plan.Usr{{"/dev/mapper/root", "", "subvol=@usr"}}, "the image's to say"},
		{"the same twice", usr(plan.Usr{Device: "LABEL=usr"}), "mount.usr=LABEL=usr", []plan.Usr{{"LABEL=usr", "", ""}}, ""},
		{"a subvolume of the root", usr(plan.Usr{}), "root=LABEL=top mount.usrflags=subvol=@usr", []plan.Usr{{"LABEL=top", "", "subvol=@usr"}}, ""},
		{"the root's flags", func(p *plan.Plan) { p.Root.Flags, p.Usr.FSType = "compress=zstd", "btrfs" }, "", []plan.Usr{{"/dev/mapper/root", "btrfs", "compress=zstd"}}, ""},
		{"any file system", usr(plan.Usr{Device: "LABEL=usr", FSType: "xfs"}), "mount.usrfstype=auto", []plan.Usr{{"LABEL=usr", "xfs", ""}}, "the image's to say"},
		{"renamed", usr(plan.Usr{Device: "/dev/mapper/data"}), "rd.luks.name=2222=x", []plan.Usr{{"/dev/mapper/x", "", ""}}, ""},
		{"no device", usr(plan.Usr{}), "mount.usr=", nil, "names no device"},
		{"a mapping that is none", usr(plan.Usr{}), "mount.usr=/dev/mapper/usr", nil, "usr.device is"},
		{"a file system that no init knows", usr(plan.Usr{}), "mount.usrfstype=fuse", nil, `usr.fstype is "fuse"`},
		{"flags of no terminal", usr(plan.Usr{}), "mount.usrflags=\x1b", nil, "usr.flags is"},
		{"dm-verity", usr(plan.Usr{}), "usrhash=x", nil, "dm-verity is not there yet"},
	} {
		p := two()
		tt.change(p)
		p, text := hinted(t, p, tt.cmdline)
		if diff := cmp.Diff(tt.want, p.Usrs()); diff != "" || (tt.problem == "") != (text == "") || !strings.Contains(text, tt.problem) {
			t.Errorf("%s: problems %q, want %q; (-want +got):\n%s", tt.name, text, tt.problem, diff)
		}
	}
}

// TestUsrMode: /usr is read-only as the root is, or as its flags say.
func TestUsrMode(t *testing.T) {
	for _, tt := range []struct {
		flags    string
		rw, want bool
	}{{"", false, false}, {"", true, true}, {"ro", true, false}, {"noatime,rw", false, true}} {
		if got := (plan.Usr{Flags: tt.flags}).As(plan.Root{ReadWrite: tt.rw, Init: "/x", Overlay: "tmpfs"}); got.ReadWrite != tt.want || got.Init+got.Overlay != "" {
			t.Errorf("flags %q beside a root with rw=%t: %+v, want rw=%t", tt.flags, tt.rw, got, tt.want)
		}
	}
}

// TestOverlay: one in memory is a hint where the image has none; all else is
// the image's to say (decision 0044).
func TestOverlay(t *testing.T) {
	for _, tt := range []struct{ image, cmdline, want, problem string }{
		{"", "rd.latchkey.overlay=tmpfs", "tmpfs", ""},
		{"", "rd.latchkey.overlay=tmpfs rd.latchkey.overlay=0", "", ""},
		{"", "rd.latchkey.overlay=LABEL=top", "", "is the image's to say"},
		{"", "rd.latchkey.overlay", "", "want tmpfs"},
		{"tmpfs", "rd.latchkey.overlay=tmpfs", "tmpfs", ""},
		{"tmpfs", "rd.latchkey.overlay=0", "tmpfs", "root.overlay is tmpfs, and stays"},
		{"tmpfs", "rd.latchkey.overlay=LABEL=top", "tmpfs", "root.overlay is tmpfs, and stays"},
		{"LABEL=top", "rd.latchkey.overlay=LABEL=top", "LABEL=top", ""},
		{"LABEL=top", "rd.latchkey.overlay=tmpfs", "LABEL=top", "root.overlay is LABEL=top, and stays"},
		{"/dev/mapper/data", "rd.luks.name=2222=x", "/dev/mapper/x", ""},
		{"", "rd.overlay", "", "rd.latchkey.overlay=tmpfs"},
		{"", "systemd.volatile=no", "", ""},
	} {
		p := two()
		p.Root.Overlay = tt.image
		p, text := hinted(t, p, tt.cmdline)
		roots := p.Roots()
		if p.Root.Overlay != tt.want || (tt.problem == "") != (text == "") || !strings.Contains(text, tt.problem) || tt.image == "" && roots[len(roots)-1].Overlay != "" {
			t.Errorf("%q and %s: overlay %q, problems %q, want %q, %q", tt.image, tt.cmdline, p.Root.Overlay, text, tt.want, tt.problem)
		}
	}
	p := two()
	if p.Root.Overlay = "disk"; p.Check() == nil {
		t.Error("Check takes an overlay on a disk of no name")
	}
}

// TestKeyHint: rd.luks.key= may repeat what the image says, and no more.
func TestKeyHint(t *testing.T) {
	for _, tt := range []struct {
		hint string
		ok   bool
	}{
		{"/root.key:LABEL=KEYS", true},                       // both programs' form
		{"/root.key:LABEL=KEYS:UUID=" + rootUUID, true},      // dracut's
		{rootUUID + "=/root.key:LABEL=KEYS", true},           // systemd's
		{"luks-1111=/root.key:LABEL=KEYS", true},             // the beginning of a UUID
		{dataUUID + "=/root.key:LABEL=KEYS", false},          // a volume that does not list it
		{"99999999=/root.key:LABEL=KEYS", false},             // no volume
		{"/root.key:LABEL=OTHER", false},                     // another stick
		{"/root.key", false},                                 // in the image, which it is not
		{"/other.key:LABEL=KEYS", false},                     // another file
		{rootUUID + "=/root.key:/dev/disk/by-id/usb", false}, // a device that is no tag
		{"", false},
	} {
		p := two()
		p.KeyFiles = []plan.KeyFile{{Name: "key-file", Path: "/root.key", Device: "LABEL=KEYS"}}
		p.Volumes[0].Sources = append(p.Volumes[0].Sources, "key-file")
		if _, text := hinted(t, p, "rd.luks.key="+tt.hint); (text == "") != tt.ok || !tt.ok && !strings.Contains(text, "where keys are is the image's to say") {
			t.Errorf("rd.luks.key=%s: problems %q, want none: %t", tt.hint, text, tt.ok)
		}
	}
}

// TestWaitHints: every way to say how long devices are waited for only makes
// that longer.
func TestWaitHints(t *testing.T) {
	for _, tt := range []struct {
		cmdline string
		want    time.Duration
		problem string
	}{
		{"rd.timeout=500", 500 * time.Second, ""},
		{"rd.timeout=0", 0, ""},
		{"rd.timeout=5", 180 * time.Second, "can only make that longer"},
		{"rd.retry=400 rd.timeout=500", 500 * time.Second, ""},
		{"rootwait", 0, ""},
		{"rootwait=500", 500 * time.Second, ""},
		{"rootwait=5", 180 * time.Second, "can only make that longer"},
		{"rootdelay=500", 500 * time.Second, ""},
		{"rootdelay=5", 180 * time.Second, ""},
		{"rootwait rootdelay=500", 0, ""},
		{"rootdelay=soon", 180 * time.Second, "whole number"},
	} {
		if p, text := hinted(t, two(), tt.cmdline); p.Wait != tt.want || (tt.problem == "") != (text == "") || !strings.Contains(text, tt.problem) {
			t.Errorf("%s: waits %s, problems %q, want %s, %q", tt.cmdline, p.Wait, text, tt.want, tt.problem)
		}
	}
}
