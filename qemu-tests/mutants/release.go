package main

// released are rules of what is built and handed out.
var released = []mutant{
	{`initramfs/build.go: microcode is x86's`, `initramfs/build.go`, `if !hasBoards(k.machine) { // microcode`, `if true { // microcode`, `./initramfs`, `TestBoards`},
	{`Makefile: programs know their commit`, `Makefile`, ` -X latchkey/internal/version.commit=$(COMMIT)`, ``, `.`, `TestInitBudget`},
}
