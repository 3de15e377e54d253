package main

// keys are rules about keys and secrets that are of no use any more, or not
// yet.
var keys = []mutant{
	{`D26 a deleted volume has no owner`, `kms/server/lk1/deleted.go`, `		if err := t.Remove(tableOwners, uuid[:]); err != nil {
			return err
		}
		until :=`, `		until :=`, `./kms/server`, `TestUndeleteVolume`},
	{`D26 nobody takes a deleted volume`, `kms/server/lk1/deposit.go`, `	if t.Has(graves.Table, graves.At(uuid[:])) {`, `	if false {`, `./kms/server`, `TestUndeleteVolume`},
	{`D26 no offer is put beside a deleted volume`, `kms/server/lk1/deposit.go`, `		if t.Has(graves.Table, graves.At(want.UUID[:])) {`, `		if false {`, `./kms/server`, `TestApproveDeletedVolume`},
	{`D26 no approval binds a deleted volume`, `kms/server/lk1/standing.go`, `	if v.Has(graves.Table, graves.At(uuid[:])) {`, `	if false {`, `./kms/server`, `TestApproveDeletedVolume`},
	{`D26 several people undelete`, `kms/server/lk1/deleted.go`, `t.together(ctx, &row, t.s.settings(&row).People(), `, `t.together(ctx, &row, 0*t.s.settings(&row).People(), `, `./kms/server`, `TestTwoPeopleUndelete`},
	{`D26 a grace ends`, `kms/ledger/grave.go`, `err == nil && !l.Wall().Before(g.Until) {`, `err == nil && false {`, `./kms/server`, `TestGraceEnds`},
	{`D26 a clock that was set destroys nothing`, `kms/ledger/grave.go`, `	if l.Jump().Abs() >= graveJump {`, `	if false {`, `./kms/server`, `TestGraceEnds`},
	{`D26 a volume's secrets go with it`, `kms/server/lk1/deleted.go`, `	for _, node := range nodes[1:] {`, `	for _, node := range nodes[:0] {`, `./kms/server`, `TestGraceEnds`},
	{`D26 what was offered is kept`, `kms/server/lk1/nodestate.go`, `t.leaveOffers(ctx, row.ID)`, `t.forget(row.ID)`, `./kms/server`, `TestDeletedOffers`},
	{`D26 who is undeleted keeps what was offered`, `kms/server/lk1/nodestate.go`, `t.Unbury(offers, row.ID[:])`, `error(nil)`, `./kms/server`, `TestDeletedOffers`},
	{`D26 a retired version has no key`, `kms/ledger/retire.go`, `retired: uint64(time.Now().Unix())})`, `retired: uint64(time.Now().Unix()), key: e.key})`, `./kms/server`, `TestUndeleteKey`},
	{`D26 each kind ends its own graces`, `kms/ledger/retire.go`, `return !isSigning(key) }`, `return true || !isSigning(key) }`, `./kms/server`, `TestGracesOfKeysEnd`},
	{`D26 a retired key of tang's is gone`, `kms/server/tang/keeper/retire.go`, `	return "", t.Remove(k.rows.private, row.at())`, `	return "", nil`, `./kms/server`, `TestTangRetiredIsDestroyed`},
	{`D26 a retired signing key is gone`, `kms/ledger/signing.go`, `return slices.Delete(keys, i, i+1), pin, nil`, `return keys, pin, nil`, `./kms/server`, `TestUndeleteSigningKey`},
	{`D26 who is forgotten takes no deleted volume along`, `kms/server/lk1/tables.go`, `len(nodes) > 0 && nodes[0] == id {`, `len(nodes) > 0 && false {`, `./kms/server`, `TestForgottenOwner`},
}
