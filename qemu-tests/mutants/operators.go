package main

// operators are rules for those who run latchkey: what is said of a mistake,
// limits and warnings.
var operators = []mutant{
	{`latchkey.yaml: the nearest key`, `internal/strictyaml/strictyaml.go`, `spelling.Suggest(key.Value, names))`, `fmt.Sprint(spelling.Suggest("", nil)[:0], names[:0]))`, `./initramfs`, `TestWrongConfig`},
	{`latchkey.yaml: what the plan refuses has its line`, `initramfs/config.go`, `return p, c.locate(p.Check())`, `return p, p.Check()`, `./initramfs`, `TestWrongConfig`},
	{`latchkey.yaml: the line of the key itself`, `initramfs/where.go`, `key += "." + word`, `break`, `./initramfs`, `TestWrongConfig`},
	{`latchkey.yaml: each key file has its line`, `initramfs/config.go`, `c.alias(name, `, `c.alias("", `, `./initramfs`, `TestWrongConfig`},
	{`D16 a source's strangers fill no log`, `kms/ledger/strangers.go`, `|| one+1 > strangersPerSource {`, `|| one > strangersInAll {`, `./kms/ledger`, `TestStrangers`},
	{`D16 all strangers fill no log`, `kms/ledger/strangers.go`, `if all+1 > strangersInAll || `, `if `, `./kms/ledger`, `TestStrangers`},
	{`D16 what was left out is said once an hour`, `kms/ledger/strangers.go`, `|| now < s.next {`, `{`, `./kms/ledger`, `TestStrangers`},
	{`D16 what failed is given back`, `kms/ledger/txn.go`, "	case last != nil:\n		l.strangers.undo(last.due)\n", ``, `./kms/ledger`, `TestStrangers`},
	{`D16 in lk1`, `kms/server/lk1/policy.go`, `return t.NoteStranger(`, `return t.Note(`, `./kms/server`, `TestStrangersOf`},
	{`D16 its boot logs`, `kms/server/lk1/evidence.go`, `note = t.NoteStranger`, `note = t.Note`, `./kms/server`, `TestStrangersOf`},
	{`D16 in Talos`, `kms/server/talos/keeper/keeper.go`, `return why, t.NoteStranger(e)`, `return why, t.Note(e)`, `./kms/server`, `TestStrangersOf`},
	{`D16 in Kairos`, `kms/server/kairos/keeper/keeper.go`, `note = t.NoteStranger`, `note = t.Note`, `./kms/server`, `TestStrangersOf`},
	{`D16 approved machines are never left out`, `kms/server/lk1/policy.go`, `if row.State != fleet.Approved {
		return t.NoteStranger`, `if true {
		return t.NoteStranger`, `./kms/server`, `TestStrangersOf`},
	{`a machine stores so often`, `kms/server/policy/limits.go`, `case f.Stores >= most:`, `case false:`, `./kms/server/policy`, `TestJudge`},
	{`each store counts`, `kms/server/lk1/policy.go`, `row.Stores = row.countStore(now, s.Stores())`, `row.Stores = nil`, `./kms/server`, `TestMachineStores`},
	{`a store counts for an hour`, `kms/server/lk1/policy.go`, `Stores: within(row.Stores, now),`, `Stores: len(row.Stores),`, `./kms/server`, `TestMachineStores`},
	{`a machine takes so many volumes`, `kms/server/lk1/deposit.go`, `if len(t.uuidsOf(node)) >= p.most {`, `if len(t.uuidsOf(node)) >= 64 {`, `./kms/server`, `TestMachineTakes`},
	{`lists of flags are no CSV`, `kms/config/flags.go`, `f.Var(cli.List(&spoken), "protocol", `, `f.StringSliceVar(&spoken, "protocol", spoken, `, `./kms/config`, `TestWrongConfig`},
	{`help names the default port`, `cmd/latchkey-responder/command.go`, `--target 192.0.2.5:7741`, `--target 192.0.2.5:8443`, `.`, `TestKeyServerPort`},
	{`messages name the default port`, `cmd/latchkey-responder/target.go`, `such as 192.0.2.5:7741`, `such as 192.0.2.5:8443`, `.`, `TestKeyServerPort`},
	{`proxies that are everybody are said`, `kms/config/warnings.go`, `if p.IsValid() && p.Bits() == 0 {`, `if false {`, `./kms/config`, `TestWarnings`},
	{`E4 a loose data directory is said`, `kms/home/home.go`, `case perm&0o055 != 0:`, `case perm&0o005 != 0:`, `./kms/home`, `TestLooseDirectory`},
	{`E4 one that a group writes to`, `kms/home/home.go`, `case perm&0o022 != 0:`, `case perm&0o002 != 0:`, `./kms/home`, `TestLooseDirectory`},
	{`a refused cipher says what to do`, `unlock/luks2/remedy.go`, `return whyCipher + "; " + reencrypt + ", then`, `return "" + ", then`, `./unlock/luks2`, `TestRemedies`},
	{`a refused KDF says what to do`, `unlock/luks2/remedy.go`, `if strings.HasPrefix(r.code, "kdf-") {`, `if strings.HasPrefix(r.code, "kdf ") {`, `./unlock/luks2`, `TestRemedies`},
	{`the remedy mends the keyslots, too`, `unlock/luks2/remedy.go`, `+ reencrypt + ", then for each keyslot " + convertKey`, `+ reencrypt`, `./unlock/luks2`, `TestRemediesMend`},
	{`D7 unicast answers are bounded`, `discover/unicasts.go`, `whole.Sub(now) > unicastBurst*unicastEvery {`, `false {`, `./discover`, `TestUnicastAnswers`},
	{`D7 those of simple resolvers`, `discover/hear.go`, `if len(r.unique)+len(r.shared) > 0 && s.mayAlone(from.Addr(), now) {`, `if true {`, `./discover`, `TestUnicastAnswers`},
	{`D7 so are those who ask`, `discover/unicasts.go`, `if !known && len(u) >= maxAskers && !u.forget(now) {`, `if false {`, `./discover`, `TestUnicastAskers`},
	{`latchkey.yaml: one kind of source`, `initramfs/sources.go`, `if s.word() == "" || s.KeyFile != nil && s.Clevis != nil {`, `if s.word() == "" && false {`, `./initramfs`, `TestSources`},
}
