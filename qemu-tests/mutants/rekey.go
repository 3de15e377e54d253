package main

// ofRekey are rules of the data keys and of their change.
var ofRekey = []mutant{
	{`D33 a key that was given up opens nothing`, `kms/ledger/datakeys.go`, `	for _, w := range v.row.Keys {
		for print, k := range c.keys[w.ID] {
			if w.Print == "" || w.Print == print {
				v.keys[w.ID] = k
			}
		}
	}`, `	for _, all := range c.keys {
		for _, k := range all {
			v.keys[k.id] = k
		}
	}`, `./kms/ledger`, `TestOldRecordsAreNoticed`},
	{`D33 a record counts under its own key`, `kms/ledger/vault.go`, `if under, err = v.has(id); err != nil {`, `if _, err = v.has(id); err != nil {`, `./kms/ledger`, `TestRekey`},
	{`a record's key is bound`, `kms/ledger/vault.go`, `head[:len(head)-nonceSize]...)`, `head[len(head)-nonceSize-9:len(head)-nonceSize]...)`, `./kms/ledger`, `TestKeyIsBound`},
	{`what is in the clear counts under the key that seals`, `kms/ledger/rekey.go`, `	if before.keys.sealing == after.keys.sealing {`, `	if true {`, `./kms/ledger`, `TestRekey`},
	{`D34 the key that seals is never an older one`, `kms/ledger/datakeys.go`, `if r.Sealing < before.Sealing {`, `if false {`, `./kms/ledger`, `TestKeyRowFollows`},
	{`D34 an id is not given twice`, `kms/ledger/datakeys.go`, `old == nil && k.ID <= before.newest() || `, ``, `./kms/ledger`, `TestKeyRowFollows`},
	{`D34 no key takes another's id`, `kms/ledger/datakeys.go`, ` || old != nil && old.Print != "" && old.Print != k.Print`, ``, `./kms/ledger`, `TestKeyRowFollows`},
	{`D34 who follows judges the keys`, `kms/ledger/rekey.go`, `!after.keys.row.follows(before.keys.row) {`, `false {`, `./kms/ledger`, `TestDataKeysGoOn`},
	{`who follows asks for the key that seals`, `kms/ledger/rekey.go`, `return l.learn(ctx, []byte(after.keys.raw))`, `return ctx.Err()`, `./kms/ledger`, `TestGuardFollowsDataKeys`},
	{`a log's rows are sealed again`, `kms/ledger/guard.go`, `|| before.keys.row.replacing() != 0 {`, `{`, `./kms/ledger`, `TestGuardFollowsDataKeys`},
	{`the new key waits for every server`, `kms/ledger/rekey.go`, `if h.known < row.newest() && `, `if false && `, `./kms/ledger`, `TestRekeyWaitsForEveryServer`},
	{`the old key stays while a head is sealed with it`, `kms/ledger/reseal.go`, `		case len(heads) > 0: // of servers`, `		case false: // of servers`, `./kms/ledger`, `TestRekeyWaitsForEveryServer`},
	{`the old key stays while a record is sealed with it`, `kms/ledger/reseal.go`, `		case len(rows) > 0:`, `		case false:`, `./kms/ledger`, `TestRekey$`},
	{`only the old key of this change goes`, `kms/ledger/rekey.go`, `if row.replacing() != old || row.Sealing == old {`, `if row.replacing() == 0 || row.Sealing == old {`, `./kms/ledger`, `TestLateServerDropsNoOtherKey`},
	{`D36 who seals nothing more is not ready`, `kms/ledger/health.go`, `cmp.Or(v.keys.unable(), l.spent(v.keys))`, `cmp.Or(v.keys.unable(), nil)`, `./kms/ledger`, `TestSealsHaveALimit`},
	{`a head of nobody is moved`, `kms/ledger/reseal.go`, `case l.shared && slices.Contains(heads, ""):`, `case false && slices.Contains(heads, ""):`, `./kms/ledger`, `TestServerWithoutTheKey`},
	{`no wrapping key but the one in use wraps a data key`, `kms/ledger/rekey.go`, `	old, err := row.of(row.Sealing).unwrap(wrapping) // one that another key wraps would open nothing
	if err != nil {
		return err
	}
	old.Wipe()
`, ``, `./kms/ledger`, `TestRekeyIsRefused`},
	{`one change at a time`, `kms/ledger/rekey.go`, `if old := row.replacing(); old != 0 {`, `if old := row.replacing(); false {`, `./kms/ledger`, `TestRekeyIsRefused`},
	{`the wrapping key wraps both keys`, `kms/ledger/wrapping.go`, `w.Wrapped = wrap(to, w.ID, key)`, `if w.ID == firstKey {
				w.Wrapped = wrap(to, w.ID, key)
			}`, `./kms/ledger`, `TestWrappingChangesDuringRekey`},
	{`the KMS keeps its name`, `kms/ledger/wrapping.go`, `	if sealed == nil && v.keys.row.first() {`, `	if true {`, `./kms/ledger`, `TestRekey$`},
	{`D36 seals are counted over restarts`, `kms/ledger/seals.go`, `k.before.Store(t.state.seals)`, `k.before.Store(0)`, `./kms/ledger`, `TestSealsAreCounted`},
	{`D36 other servers' seals count`, `kms/ledger/seals.go`, `if h.sealer == w.ID {`, `if h.sealer == w.ID && h.server == l.server {`, `./kms/ledger`, `TestSealsAreCounted`},
	{`D36 a key has a limit`, `kms/ledger/seals.go`, `if v.sealing != nil && v.sealing.total() >= l.sealLimit {`, `if false {`, `./kms/ledger`, `TestSealsHaveALimit`},
	{`D36 a key is changed before its limit`, `kms/ledger/rekeywatch.go`, `if used >= 0.75 && !older {`, `if used >= 2 && !older {`, `./kms/ledger`, `TestSealsHaveALimit`},
	{`D36 half of the limit is said`, `kms/ledger/rekeywatch.go`, `if l.rekeying.warned.Swap(id) != id {`, `if false {`, `./kms/ledger`, `TestSealsHaveALimit`},
	{`H7 one key, one format`, `kms/ledger/rekey.go`, `if row.first() {
			return`, `if false {
			return`, `./cmd/latchkey-kms`, `TestFrozen`},
	{`exec: a missing program is a wrong configuration`, `kms/home/keeping.go`, `if errors.Is(err, wrapping.ErrSetup) {`, `if false {`, `./cmd/latchkey-kms`, `TestWrappingProgramIsMissing`},
	{`shares: those of another database are told so`, `kms/home/keeping.go`, `if k.Shares == "" || !errors.Is(err, ledger.ErrWrappingKey) {`, `if true {`, `./cmd/latchkey-kms`, `TestScripts/shares`},
	{`a site's bounds are bounded, also later`, `kms/server/site/setbounds.go`, `		if err := next.check(); err != nil {`, `		if err := next.check(); false {`, `./kms/server`, `TestSiteBoundsAreSet`},
	{`what is not said of a site's bounds stays`, `kms/server/site/setbounds.go`, `		next.as(s.Bounds)
`, ``, `./kms/server`, `TestSiteBoundsAreSet`},
	{`a site's bounds are set on the center's host`, `kms/server/site/setbounds.go`, `if !admin.Here(ctx) {`, `if !admin.Here(ctx) && false {`, `./kms/server`, `TestSiteIsAddedHere`},
	{`a backup of the same state is there already`, `kms/backup/backup.go`, `if m.has(ctx, place, name) {`, `if false {`, `./kms/backup`, `TestTwiceInASecond`},
	{`a backup of another state has another name`, `kms/backup/backup.go`, `	return m.last.At.Add(time.Second)`, `	return m.last.At`, `./kms/backup`, `TestTwiceInASecond`},
	{`shares: a server that runs asks nobody`, `kms/home/keeping.go`, `if k.Shares != "" && k.ask == nil {`, `if false {`, `./kms/home`, `TestRekeyByShares`},
	{`D80 a step that was not judged is judged again`, `kms/store/mirror/follow.go`, `case missed != nil:`, `case false:`, `./kms/store/mirror`, `TestGuardThatCannotRead`},
	{`D80 what was not judged is not gone past`, `kms/store/mirror/follow.go`, `; missed != nil {`, `; false {`, `./kms/store/mirror`, `TestGuardThatCannotRead`},
	{`D80 what cannot be judged by its rows is judged as a whole`, `kms/store/mirror/follow.go`, `|| stuck >= unjudged {`, `{`, `./kms/store/mirror`, `TestGuardThatNeverReads`},
	{`D80 an old head moves alone`, `kms/ledger/reseal.go`, `l.updateAs(store.Alone(ctx), ""`, `l.updateAs(ctx, ""`, `./kms/ledger`, `TestOldHeadMovesAlone`},
	{`D80 what is to be alone shares no write`, `kms/store/mirror/commit.go`, `if i > 0 && (store.IsAlone(j.ctx) || store.IsAlone(group[0].ctx)) {`, `if false {`, `./kms/store/mirror`, `TestSharesWithNobody`},
}
