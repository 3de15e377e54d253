package main

// paths are the rules by which disks with several paths are recognized and
// mapped.
var paths = []mutant{
	{`paths are of one size`, `boot/worker/paths.go`, `b.SizeBytes != first.SizeBytes || `, ``, `./boot/worker`, `TestSight`},
	{`paths are of two disks`, `boot/worker/paths.go`, ` || b.Disk == first.Disk`, ``, `./boot/worker`, `TestSight`},
	{`paths lead to one partition`, `boot/worker/paths.go`, ` || b.Partition != first.Partition`, ``, `./boot/worker`, `TestSight`},
	{`paths begin at one place`, `boot/worker/paths.go`, ` || b.FromBytes != first.FromBytes`, ``, `./boot/worker`, `TestSight`},
	{`paths have an identity`, `boot/worker/paths.go`, `return of(first) != "" && `, `return `, `./boot/worker`, `TestSight`},
	{`a serial number is no identity`, `boot/worker/paths.go`, "	case same(weak):\n\t\treturn nil, ", "	case same(weak):\n\t\treturn fit, nil\n\tcase first.Name == \"no\":\n\t\treturn nil, ", `./boot`, `TestRecognized`},
	{`a serial number beside an identity counts for nothing`, `boot/worker/paths.go`, `if b.WWID != "" {`, `if false {`, `./boot`, `TestPaths`},
	{`paths have one header`, `boot/worker/paths.go`, `p.header.SeqID() != best.SeqID() || p.header.SubsetDigest() != best.SubsetDigest()`, `p.header == nil`, `./boot`, `TestPaths`},
	{`the better port is first`, `boot/worker/paths.go`, `p.block.Rank == rank && p.err == nil`, `rank == 0 && p.err == nil`, `./boot`, `TestPaths`},
	{`rd.multipath=0 is heard`, `boot/worker/paths.go`, `if w.plan.NoPaths {`, `if false {`, `./boot`, `TestPaths`},
	{`one path of a known disk is mapped`, `boot/worker/paths.go`, `if len(d.paths) < 2 && !known {`, `if len(d.paths) < 2 || known && false {`, `./boot`, `TestPaths`},
	{`a kernel without ALUA will do`, `boot/worker/paths.go`, `if err != nil && p.ALUA {`, `if false {`, `./boot`, `TestPaths`},
	{`one path will do`, `boot/worker/paths.go`, `if err == nil {
		d.Device`, `if true {
		d.Device`, `./boot`, `TestPaths`},
	{`others map where others open`, `boot/worker/paths.go`, `if _, others := w.sys.(Keyholder); others {`, `if false {`, `./boot/agent`, `TestPaths`},
	{`a path that comes late counts`, `boot/worker/open.go`, ` || code == "volume-multipath"`, ``, `./boot`, `TestRecognized`},
	{`more paths are mapped before the disk is opened`, `boot/worker/paths.go`, `if d.Device != d.block.Path || `, `if d.Device == d.block.Path || `, `./boot`, `TestPaths`},
	{`a mapped disk is multipathd's`, `boot/worker/paths.go`, `if d.Device != d.block.Path || `, `if `, `./boot`, `TestPaths`},
	{`a copy that comes late is told`, `boot/worker/open.go`, `			w.search.arrays.tell(s.err)
`, ``, `./boot`, `TestPaths`},
	{`a copy stays one`, `boot/worker/open.go`, `return // as the last look found it`, `for _, of := range o.all {
			of.copied = nil
		}
		return`, `./boot`, `TestCopiedWhileTyping`},
	{`a copy that is gone is none`, `boot/worker/open.go`, `of.copied = nil // anything`, `// anything`, `./boot`, `TestCopiedWhileTyping`},
	{`PID 1: disks are taken away last`, `boot/logical.go`, `range append(names, disks(present)...) {`, `range append(disks(present), names...) {`, `./boot`, `TestPaths`},
	{`PID 1: partitions before disks`, `boot/logical.go`, `len(mappings[b].UUID)-len(mappings[a].UUID)`, `len(mappings[a].UUID)-len(mappings[b].UUID)`, `./boot`, `TestPaths`},
	{`PID 1: udev knows the disks`, `boot/handover.go`, `, disks(mappings))`, `)`, `./boot`, `TestPaths`},
	{`reads end without paths`, `unlock/dm/paths.go`, `words := []string{"0", `, `words := []string{"1 queue_if_no_path", `, `./unlock/dm`, `TestPathsTable`},
	{`a partition is in its disk`, `unlock/dm/paths.go`, ` || p.Part.Start > p.Sectors-p.Part.Sectors`, ``, `./unlock/dm`, `TestMapPathsRefuses`},
	{`only the unit's own name counts`, `boot/device/wwid.go`, `list[1]&0x3f`, `list[1]&0x0f`, `./boot/device`, `TestWWID`},
	{`zeros are no identity`, `boot/device/wwid.go`, `strings.Trim(id, "0-") == ""`, `id == "none"`, `./boot/device`, `TestWWID`},
	{`a NAA has its size`, `boot/device/wwid.go`, `sizes[naa] == len(id)`, `sizes[naa] > 0`, `./boot/device`, `TestWWID`},
	{`an identity can be a name`, `boot/device/wwid.go`, ` || c == '/' })`, ` })`, `./boot/device`, `TestWWID`},
	{`a designator ends in its page`, `boot/device/wwid.go`, ` && len(list) >= 4+int(list[3]) {`, ` {`, `./boot/device`, `TestWWID`},
	{`the plan knows this machine's paths`, `initramfs/build.go`, "	multipaths(p, o.Host)\n", "", `./initramfs`, `TestPathModules`},
	{`an image for this machine maps paths`, `initramfs/closure.go`, `, forPaths(host))`, `)`, `./initramfs`, `TestPathModules`},
	{`a partition is no disk`, `internal/hosttab/paths.go`, `ok && partition == 0`, `ok && partition >= 0`, `./internal/hosttab`, `TestMultipaths`},
	{`an image is no older for its paths`, `cmd/latchkey/check_image.go`, `have.Modules, have.Multipath = plan.Load{}, nil`, `have.Modules = plan.Load{}`, `./cmd/latchkey`, `TestCheckPaths`},
}
