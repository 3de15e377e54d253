package main

// rootForms are the rules by which /usr and overlays are mounted, and the
// hints about them.
var rootForms = []mutant{
	{`PID 1: /usr lies on opened volumes`, `boot/mount.go`, `if err := b.judge(b.usr.Name, mappings); err != nil {`, `if err := error(nil); err != nil {`, `./boot`, `TestRootFormsOnStrangers`},
	{`PID 1: an overlay lies on opened volumes`, `boot/mount.go`, `if err := b.judge(b.overlay.Name, mappings); err != nil {`, `if err := error(nil); err != nil {`, `./boot`, `TestRootFormsOnStrangers`},
	{`PID 1: below an overlay the root is read-only`, `boot/mount.go`, `below.ReadWrite = false`, ``, `./boot`, `TestOverlay`},
	{`PID 1: what is mounted is unmounted backwards`, `boot/mount.go`, `b.mounts = append(b.mounts, m.Target)`, ``, `./boot`, `TestOverlay|TestUsr`},
	{`no hint replaces the image's /usr`, `internal/plan/usr.go`, `if p.ImageUsr != (Usr{}) && u != p.ImageUsr {`, `if false {`, `./boot`, `TestUsr`},
	{`PID 1: a /usr of the command line alone ends no boot`, `boot/mount.go`, `if b.plan.ImageUsr == (plan.Usr{}) {`, `if false {`, `./boot`, `TestUsr`},
	{`PID 1: the image's /usr does not go without a word`, `boot/mount.go`, `if b.plan.ImageUsr == (plan.Usr{}) {`, `if true {`, `./boot`, `TestUsr`},
	{`a /usr of the command line alone ends no search`, `boot/worker/usr.go`, `case w.plan.ImageUsr == (plan.Usr{}):`, `case false:`, `./boot`, `TestUsr`},
	{`the image's /usr must be there`, `boot/worker/usr.go`, `case w.plan.ImageUsr == (plan.Usr{}):`, `case true:`, `./boot`, `TestUsr`},
	{`an overlay's device must be there`, `boot/worker/usr.go`, `if err == nil && r.name == "" {`, `if false {`, `./boot`, `TestOverlay`},
	{`an overlay's device is the image's to say`, `internal/plan/overlay.go`, `case a.Value == OverlayTmpfs:
		p.Root.Overlay = OverlayTmpfs`, `case a.Value != "" && !switchedOff(a):
		p.Root.Overlay = a.Value`, `./internal/plan`, `TestOverlay`},
	{`the image's overlay stays`, `internal/plan/overlay.go`, `case p.ImageRoot.Overlay != "":`, `case false:`, `./internal/plan`, `TestOverlay`},
	{`a key file is the image's to say`, `internal/plan/hintheader.go`, `f.Path == file && f.Device == device`, `f.Path == file`, `./internal/plan`, `TestKeyHint`},
	{`a key file is the volume's`, `internal/plan/hintheader.go`, `ok && named(f) }) {`, `ok && named(f) }) && false {`, `./internal/plan`, `TestKeyHint`},
	{`a member in a logical volume is nothing else`, `boot/worker/content.go`, `!errors.Is(err, md.ErrNone)`, `err != nil && !errors.Is(err, md.ErrNone)`, `./boot`, `TestLVM`},
	{`bcache comes before what it covers`, `boot/device/probe.go`, `{bcache, luks,`, `{luks, bcache,`, `./boot/device`, `TestProbeBcache`},
	{`/usr has a mode of its own`, `internal/plan/usr.go`, `if o == "ro" || o == "rw" {`, `if false {`, `./internal/plan`, `TestUsrMode`},
	{`the image's /usr comes after the command line's`, `internal/plan/usr.go`, `if !slices.Contains(all, usr) {`, `if len(all) == 0 {`, `./internal/plan`, `TestUsr`},
	{`the image has the file system of /usr`, `initramfs/closure.go`, `fstypes = append(fstypes, u.FSType)`, ``, `./initramfs`, `TestRootForms`},
	{`the image has the overlay`, `initramfs/closure.go`, `words["root.overlay"] = []string{"overlay"}`, ``, `./initramfs`, `TestRootForms`},
}
