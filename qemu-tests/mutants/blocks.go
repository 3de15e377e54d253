package main

// blocks are the rules by which modules are kept in blocks and loaded from
// them, and one by which a boot with many servers is as quick.
var blocks = []mutant{
	{`D75 a block is what the index says`, `boot/module/block.go`, `if err == nil && sha256.Sum256(data) != of.Sum {`, `if err == nil && sha256.Sum256(data) == of.Sum && false {`, `./boot/module`, `TestLoadFromBadBlocks`},
	{`D75 a block that is cut is damaged`, `internal/lzma/bits.go`, `		d.short = true
`, ``, `./internal/lzma`, `TestDecodeRefuses`},
	{`D75 a block unpacks to what it should`, `internal/lzma/lzma.go`, `	if len(d.out) != size {`, `	if false {`, `./internal/lzma`, `TestDecodeRefuses`},
	{`D75 a module is within its block`, `internal/plan/blocks.go`, ` || part.Offset > m.Blocks[part.Block].Size-part.Size {`, ` {`, `./internal/plan`, `TestDecodeModulesRefuses`},
	{`an init of before gets plain modules`, `initramfs/blocks.go`, `return bytes.Contains(init, []byte(plan.BlocksForm))`, `return true || bytes.Contains(init, nil)`, `./initramfs`, `TestNoBlocksForAnOlderInit`},
	{`what an asked-for module needs is no block's`, `initramfs/blocks.go`, `seldom[d] = seldom[d] && seldom[i]`, `seldom[d] = seldom[d] && (seldom[i] || true)`, `./initramfs`, `TestWhatIsInBlocks`},
	{`what a program compressed is unpacked again`, `initramfs/compressors.go`, `file != nil && unpacks(file, data) {`, `file != nil {`, `./initramfs`, `TestCompressors`},
	{`the dead hold up nobody`, `boot/worker/ask.go`, `const maxCallers = 64`, `const maxCallers = 1`, `./boot`, `TestGrowth`},
	{`a module's file does not stay in memory`, `boot/module/block.go`, `	defer os.Remove(path)
`, ``, `./boot/module`, `TestLoadFromBlocks`},
}
