package main

// operators are rules for those who run latchkey: what is said of a mistake,
// limits and warnings.
var operators = []mutant{
	{`latchkey.yaml: the nearest key`, `internal/strictyaml/strictyaml.go`, `key.Value, spelling.Suggest(key.Value, names))`, `key.Value, names[:0]))`, `./initramfs`, `TestWrongConfig`},
	{`latchkey.yaml: what the plan refuses has its line`, `initramfs/config.go`, `return p, c.locate(p.Check())`, `return p, p.Check()`, `./initramfs`, `TestWrongConfig`},
	{`latchkey.yaml: the line of the key itself`, `initramfs/where.go`, `key += "." + word`, `break`, `./initramfs`, `TestWrongConfig`},
	{`latchkey.yaml: each key file has its line`, `initramfs/config.go`, `c.alias(name, `, `c.alias("", `, `./initramfs`, `TestWrongConfig`},
	{`latchkey.yaml: one kind of source`, `initramfs/sources.go`, `if s.word() == "" || s.KeyFile != nil && s.Clevis != nil {`, `if s.word() == "" && false {`, `./initramfs`, `TestSources`},
}
