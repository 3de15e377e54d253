package main

// installs are rules of what is installed on machines: latchkey check, setup,
// the hooks and the packages.
var installs = []mutant{
	{`check: the decision is asked for only where it gives nothing`, `cmd/latchkey/check_kms.go`, `if !k.latched {`, `if false {`, `./cmd/latchkey`, `TestScripts/check$`},
	{`check: an image is of this configuration`, `cmd/latchkey/check_image.go`, `if !samePlan(p.file, wanted) {`, `if false {`, `./cmd/latchkey`, `TestScripts/check$`},
	{`check: the init by its content`, `cmd/latchkey/check_image.go`, `!bytes.Equal(is, have)`, `false`, `./cmd/latchkey`, `TestScripts/check$`},
	{`check: the drivers of disks and links`, `cmd/latchkey/check_machine.go`, `p.modules.Find(name) < 0 &&`, `false &&`, `./cmd/latchkey`, `TestScripts/check$`},
	{`check: what is built in is no module`, `internal/hosttab/drivers.go`, `if _, err := os.Stat(filepath.Join(module, "initstate")); err == nil && !`, `if !`, `./cmd/latchkey`, `TestScripts/check$`},
	{`check: links that the plan names`, `cmd/latchkey/check_machine.go`, `case len(missing) > 0:`, `case false:`, `./cmd/latchkey`, `TestScripts/check$`},
	{`check: another root`, `cmd/latchkey/check_machine.go`, `case err == nil && now.Source != "" && c.sameDevice(there, now.Source):`, `case err == nil:`, `./cmd/latchkey`, `TestScripts/check$`},
	{`check: a source that may open makes others' failures warnings`, `cmd/latchkey/check_source.go`, `(alone || maybe || v.NoFail)`, `(alone || v.NoFail)`, `./cmd/latchkey`, `TestScripts/check$`},
	{`check: nothing but a person`, `cmd/latchkey/check_source.go`, `c.fail("opens", v.Name, "", "nothing but a person opens it")`, ``, `./cmd/latchkey`, `TestScripts/check$`},
}
