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
	{`D27 an older header needs the operator's word`, `kms/server/lk1/serve.go`, `	case want.SeqID < row.MinSeq:`, `	case false:`, `./kms/server`, `TestOlderDisk`},
	{`D27 who has the disk of today gets no old secret`, `kms/server/lk1/kept.go`, `		if seqID < k.Before {`, `		if seqID <= k.Before {`, `./kms/server`, `TestOlderDisk`},
	{`D27 each header has its secret`, `kms/server/lk1/kept.go`, `			return &row.Kept[i]`, `			return &row.Kept[i*0]`, `./kms/server`, `TestOlderDisk`},
	{`D27 an older disk is rotated anew`, `kms/server/lk1/kept.go`, `{k.State: &g.Active, active: &g.Staged}`, `{k.State: &g.Active}`, `./kms/server`, `TestOlderDisk`},
	{`D27 and has caught up once its keyslot was seen`, `kms/server/lk1/kept.go`, `	if r.Outcome != kms.OpenedStaged || rotation`, `	if rotation`, `./kms/server`, `TestOlderDisk`},
	{`D27 the header of before is refused again`, `kms/server/lk1/kept.go`, `row.MinSeq, row.Older = max(row.MinSeq, seqID), nil`, `row.Older = nil`, `./kms/server`, `TestOlderDisk`},
	{`D27 a rotation that forgets keeps nothing`, `kms/server/lk1/kept.go`, `	if row.Forget || keep <= 0 {`, `	if keep <= 0 {`, `./kms/server`, `TestRotationForgets`},
	{`D27 nor anything of before`, `kms/server/lk1/kept.go`, `t.forgetKept(row, len(row.Kept))`, `error(nil)`, `./kms/server`, `TestRotationForgets`},
	{`D27 an aborted one forgets nothing`, `kms/server/lk1/rotate.go`, `		row.Forget = false
		if row.Due {`, `		if row.Due {`, `./kms/server`, `TestRotationForgets`},
	{`D27 no more than four`, `kms/server/lk1/kept.go`, `	if len(row.Kept) >= maxKept {`, `	if false {`, `./kms/server`, `TestKeptEnds`},
	{`D27 none for longer than its time`, `kms/server/lk1/kept.go`, `t.Remove(tableSecrets, secretKey(volumeKey(row.Node, uuid), state))`, `error(nil)`, `./kms/server`, `TestKeptEnds`},
	{`D27 what is kept goes with the volume`, `kms/server/lk1/records.go`, `		err = t.forgetKept(&row, len(row.Kept))`, `		err = t.forgetKept(&row, 0)`, `./kms/server`, `TestKeptGoesWithTheVolume`},
	{`D27 what is kept stays with its machine`, `kms/server/lk1/records.go`, `	if err := t.forgetKept(&row, len(row.Kept)); err != nil {
		return row, err
	}
`, ``, `./kms/server`, `TestKeptStays`},
	{`D28 no rotation ends before a backup has its secret`, `kms/server/lk1/held.go`, `	return !backed, err`, `	return false && !backed, err`, `./kms/server`, `TestRotationWaits`},
	{`D28 a backup of before does not count`, `kms/ledger/backed.go`, `return at.Epoch >= s.Epoch, nil`, `return true, nil`, `./kms/server`, `TestRotationWaits`},
	{`D28 nor one that another server was ahead of`, `kms/ledger/backed.go`, `		return n >= s.Change, nil`, `		return n >= 0*s.Change, nil`, `./kms/ledger`, `TestBackedUp`},
	{`D28 a backup is noted`, `kms/admin/store.go`, `err := a.ledger.NoteBackup(r.Context(), at); err != nil {`, `err := error(nil); at.Epoch == 0 && err != nil {`, `./kms/server`, `TestRotationWaits`},
}
