package main

// inners are the rules by which arrays on opened volumes are run.
var inners = []mutant{
	{`PID 1: an array is one by its name`, `internal/mapping/path.go`, ` && strings.Trim(number, "0123456789") == ""`, ``, `./internal/mapping`, `TestPath`},
	{`PID 1: an array lies on something`, `boot/logical.go`, ` && len(m.On) > 0`, ``, `./boot`, `TestInnerArraysAreJudged`},
	{`PID 1: what an array lies on is judged`, `boot/logical.go`, `err = b.judgeLayer(below, mappings, depth-1)`, ``, `./boot`, `TestInnerArraysAreJudged`},
	{`PID 1: an array is stopped before its members close`, `boot/logical.go`, `names := b.above(present)`, `var names []string`, `./boot`, `TestInnerArraysAreJudged`},
	{`PID 1: an array that does not run is none`, `boot/mappings_linux.go`, ` && md.Runs(filepath.Join(dir, "../../.."), device)`, ``, `./boot`, `TestMappings`},
	{`udev's rules ask the array itself`, `boot/handover.go`, `if mapping.IsArray(name) {`, `if false {`, `./boot`, `TestInnerArraysAreJudged`},
	{`no half of a mirror on volumes is mounted`, `boot/worker/content.go`, `isMember(&c.probed, f) {`, `isMember(&c.probed, f) && false {`, `./boot`, `TestInnerArrays`},
	{`a damaged member in a volume is said`, `boot/worker/logical.go`, `if c.probed.damage != nil {`, `if false {`, `./boot`, `TestInnerArrays`},
	{`arrays on volumes that lack members run last`, `boot/worker/logical.go`, `return a.Whole() && w`, `return w`, `./boot`, `TestInnerArrays`},
	{`arrays on volumes that nobody wants run last`, `boot/worker/logical.go`, `a.Whole() && w.plan.Arrays.Wants(a.UUID)`, `a.Whole()`, `./boot`, `TestInnerArrays`},
	{`arrays on volumes run degraded only if something is missing`, `boot/worker/innerarrays.go`, `len(others) == 0 || !in.misses()`, `len(others) == 0`, `./boot`, `TestInnerArrays`},
	{`a member that comes late is waited for`, `boot/worker/innerarrays.go`, `if late := in.late(); late != "" {`, `if late := ""; late != "" {`, `./boot`, `TestInnerArrays`},
	{`never degraded is never, on volumes, too`, `boot/worker/innerarrays.go`, `if degraded(a) && w.plan.Degraded < 0 {`, `if false {`, `./boot`, `TestInnerArrays`},
	{`a /usr on an array is missed`, `boot/worker/innerarrays.go`, `wanted = append(wanted, u.Device)`, `wanted = append(wanted, p.RootDevice(p.Root)+u.Device[:0])`, `./boot`, `TestInnerArrays`},
	{`what lies on a read-only member is read-only`, `boot/worker/innerarrays.go`, `in.open[of].readOnly || c.readOnly`, `in.open[of].readOnly`, `./boot`, `TestInnerArrays`},
	{`LVM on a late array counts`, `boot/worker/innerarrays.go`, `	in.assemble()
`, ``, `./boot`, `TestInnerArrays`},
	{`of volumes that all have nofail one must be there`, `boot/worker/disks.go`, `degraded && slices.ContainsFunc(all, isFound) || `, `degraded && (slices.ContainsFunc(all, isFound) || true) || `, `./boot`, `TestLegs`},
	{`never degraded wants volumes with nofail, too`, `boot/worker/disks.go`, `degraded && slices.ContainsFunc(all, isFound) || `, `slices.ContainsFunc(all, isFound) || `, `./boot`, `TestLegs`},
	{`volumes that all have nofail are waited for`, `boot/worker/disks.go`, `w.plan.Spread() || w.search`, `w.search`, `./boot`, `TestLegs`},
	{`a root in a volume that is late is waited for`, `boot/worker/innerarrays.go`, `!w.plan.Spread() || len(in.absent) == 0 || !in.misses()`, `true`, `./boot`, `TestLegs`},
	{`that wait has an end`, `boot/worker/innerarrays.go`, `in.lateUntil(due(w.plan.Wait))`, `in.lateUntil(due(0 * w.plan.Wait))`, `./boot`, `TestLegs`},
}
