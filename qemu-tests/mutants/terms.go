package main

// terms are the policy's rules for machines of Kairos and Talos.
var terms = []mutant{
	{`Talos' machines obey the policy`, `kms/server/talos/keeper/terms.go`, `	if v.Status != kms.OK {`, `	if false {`, `./kms/server`, `TestTermsOfOthers`},
	{`Kairos' machines obey the policy`, `kms/server/kairos/keeper/terms.go`, `	case v.Status != kms.OK:`, `	case false:`, `./kms/server`, `TestTermsOfOthers`},
	{`a lapse stays`, `kms/server/terms/terms.go`, `	terms.Lapsed = f.Now`, `	_ = f.Now`, `./kms/server`, `TestTermsOfOthers`},
	{`Talos' releases are counted`, `kms/server/talos/keeper/keeper.go`, `		row.count(blob, facts)`, `		_ = facts`, `./kms/server`, `TestTerms`},
	{`Kairos' releases are counted`, `kms/server/kairos/keeper/keeper.go`, `		row.count(part, f)`, `		_ = f`, `./kms/server`, `TestTermsOfOthers`},
	{`each partition has its limit`, `kms/server/kairos/keeper/terms.go`, `		c.Recent = part.Recent`, `		c.Recent = row.Partitions[0].Recent`, `./kms/server`, `TestKairosLimitOfPartitions`},
	{`Kairos boots its release`, `kms/server/kairos/keeper/terms.go`, `	if why != "" {
		row.LastReason`, `	if why = ""; why != "" {
		row.LastReason`, `./kms/server`, `TestKairosReleases`},
	{`a release answers for its PCRs only`, `kms/server/policy/protocol.go`, `return r.covers(pcr)`, `return true`, `./kms/server`, `TestKairosReleases`},
	{`the older exchange is no release`, `kms/server/kairos/keeper/terms.go`, `f.Settings.Releases[0] != policy.NoRelease`, `false`, `./kms/server`, `TestKairosReleaseOfLegacy`},
	{`a protocol is a group`, `kms/server/policy/protocol.go`, `		if g.Label == labelProtocol {`, `		if false {`, `./kms/server`, `TestTermsByProtocol`},
	{`a setting that means nothing is a fault`, `kms/server/policy/protocol.go`, `	return Protocol(value).check(s)`, `	return nil`, `./kms/server`, `TestTermsByProtocol`},
	{`nobody gives a machine another protocol`, `kms/server/policy/terms.go`, `		if key == labelProtocol {`, `		if false {`, `./kms/server`, `TestTermsByProtocol`},
	{`Talos' machines follow the store`, `kms/server/talos/keeper/keeper.go`, `		if err := k.c.Rules.Follow(t.View); err != nil {`, `		if err := error(nil); err != nil {`, `./kms/server`, `TestPolicyOfOthers`},
	{`Kairos' machines follow the store`, `kms/server/kairos/keeper/keeper.go`, `		if err := k.c.Rules.Follow(t.View); err != nil {`, `		if err := error(nil); err != nil {`, `./kms/server`, `TestPolicyOfOthers`},
	{`other servers follow the store`, `kms/server/rulebook/rulebook.go`, `	b.held.Store(h)`, ``, `./kms/server`, `TestPolicyOfAllServers`},
	{`two must want another policy`, `kms/server/rulebook/change.go`, `		need = max(need, people(p))`, `		_ = people(p)`, `./kms/server`, `TestPolicyOfTwoPeople`},
	{`a policy compares with what holds`, `kms/server/rulebook/change.go`, `if n.Base != now.holds() {`, `if false {`, `./kms/server`, `TestPolicyThatIsRefused`},
	{`no file of the key server's is read`, `kms/server/rulebook/rulebook.go`, `		if !ok {`, `		if !ok && false {`, `./kms/server`, `TestPolicyThatIsRefused`},
	{`a policy has a size`, `kms/server/rulebook/rulebook.go`, `n > MaxBytes {`, `n > 9*MaxBytes {`, `./kms/server`, `TestPolicyThatIsRefused`},
	{`nobody goes by an edition of before`, `kms/server/rulebook/rulebook.go`, `			return fmt.Errorf("reading edition`, `			return nil; return fmt.Errorf("reading edition`, `./kms/server/rulebook`, `TestEditionThatCannotBeRead`},
	{`editions go up`, `kms/server/rulebook/rulebook.go`, `number > b.held.Load().number }`, `number != b.held.Load().number }`, `./kms/server/rulebook`, `TestOlderViews`},
	{`old editions end`, `kms/server/rulebook/change.go`, `	if e.Number > maxEditions &&`, `	if false &&`, `./kms/server/rulebook`, `TestOldEditionsEnd`},
	{`an older format has no later table`, `kms/ledger/txn.go`, `	if table.since > 0 {`, `	if false {`, `./cmd/latchkey-kms`, `TestFrozen`},
	{`presence needs a format of its own`, `kms/server/lk1/nodeset.go`, `	if set.Settings.Presence != nil ||`, `	if false && set.Settings.Presence != nil ||`, `./cmd/latchkey-kms`, `TestFrozen`},
	{`two people for Talos and Kairos`, `kms/server/terms/several.go`, `if err := d.Several.Together(`, `need = 1; if err := d.Several.Together(`, `./kms/server`, `TestTwoPeopleOfOthers`},
	{`a stop ends words of others`, `kms/server/terms/several.go`, `		return d.Several.Forget(t, subject)`, `		return nil`, `./kms/server`, `TestTwoPeopleOfOthers`},
	{`what somebody looked at, of Kairos`, `kms/server/kairos/keeper/admin.go`, `	shown.Clock = 0`, `	shown = lastShown{}`, `./kms/server`, `TestTwoPeopleOfOthers`},
}
