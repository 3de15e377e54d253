package main

// ofTang are the rules of the key server for clients of tang.
var ofTang = []mutant{
	{`D24 a point is on its curve`, `kms/server/tang/key.go`, `if p, err = c.ecdh.NewPublicKey(slices.Concat([]byte{4}, x, y)); err != nil {`, `if p, err = c.ecdh.NewPublicKey(slices.Concat([]byte{4}, x, y)); err != nil && p != nil {`, `./kms/server/tang`, `TestExchangeRefused`},
	{`D24 a point is on the key's curve`, `kms/server/tang/exchange.go`, `if point.Crv != p.Crv {`, `if false {`, `./kms/server/tang`, `TestExchangeRefused`},
	{`D24 coordinates have one form`, `kms/server/tang/key.go`, `if err != nil || len(b) != size {`, `if err != nil && len(b) != size {`, `./kms/server/tang`, `TestPrivateRefused|TestExchangeRefused`},
	{`D24 a private part is the public one's`, `kms/server/tang/key.go`, `if encode(raw[:c.bytes]) != p.X || encode(raw[c.bytes:]) != p.Y {`, `if raw == nil {`, `./kms/server/tang`, `TestPrivateRefused`},
	{`D24 a key is for what it says`, `kms/server/tang/key.go`, `case k.Alg == "", k.Alg == algExchange && k.Exchanges(), k.Alg == c.signs && k.Signs():`, `case true:`, `./kms/server/tang`, `TestPrivateRefused`},
	{`D24 a request is small`, `kms/server/tang/tang.go`, `http.MaxBytesReader(w, r.Body, maxBody)`, `r.Body`, `./kms/server/tang`, `TestRequests`},
	{`D24 a request is for the exchange`, `kms/server/tang/tang.go`, `case !k.permits("deriveKey", false):`, `case false:`, `./kms/server/tang`, `TestRequests`},
	{`tang: private uses are not advertised`, `kms/server/tang/key.go`, `return slices.Contains(privateOps, op) })`, `return false })`, `./kms/server`, `TestTangAsJose`},
	{`D24 a signing key multiplies nothing`, `kms/server/tang/keeper/keeper.go`, `case !row.Key.Recovers():`, `case false:`, `./kms/server`, `TestTang$`},
	{`D24 a client's keys are its own`, `kms/server/tang/keeper/tables.go`, `		if !bytes.HasPrefix(at, prefix) {
			return false
		}
`, `		if false && !bytes.HasPrefix(at, prefix) {
			return false
		}
`, `./kms/server`, `TestTangClients`},
	{`D24 a revoked client gets nothing`, `kms/server/tang/keeper/keeper.go`, `case row.Revoked:`, `case false:`, `./kms/server`, `TestTangClients`},
	{`D24 a client's networks`, `kms/server/tang/keeper/keeper.go`, `case len(row.Sources) > 0 && !front.Contains(row.Sources, a.From):`, `case false:`, `./kms/server`, `TestTangClients`},
	{`D24 a retired key's row is no key`, `kms/server/tang/keeper/retire.go`, `return "", t.Remove(k.rows.private, row.at())`, `return "", nil`, `./kms/server`, `TestTangRetiredIsDestroyed`},
	{`D24 decided again when it is recorded`, `kms/server/tang/keeper/record.go`, `			refused = r
			return nil
`, `			err = nil
			_ = r
`, `./kms/server`, `TestTangRevokedMeanwhile`},
	{`D25 networks`, `kms/server/tang/keeper/keeper.go`, `if len(o.Sources) > 0 && !front.Contains(o.Sources, a.From) {`, `if false {`, `./kms/server`, `TestTangWhereAndWhen`},
	{`D25 hours`, `kms/server/tang/keeper/keeper.go`, `if len(o.Windows) > 0 {`, `if false {`, `./kms/server`, `TestTangWhereAndWhen`},
	{`D25 a source asks so often`, `kms/server/tang/keeper/meter.go`, `if n+1 > float64(most) {`, `if false {`, `./kms/server`, `TestTangTooOften|TestTangEventsAreBounded`},
	{`D25 strangers' events are bounded`, `kms/server/tang/keeper/record.go`, `	return t.NoteStranger(e)
}`, `	return t.Note(e)
}`, `./kms/server`, `TestTangStrangersAreBounded`},
	{`D25 an unknown place is told of once`, `kms/server/tang/keeper/record.go`, `if err := t.Save(k.rows.seen, []byte(from), source{First: time.Now().UTC()}); err != nil {`, `if false {
			var err error`, `./kms/server`, `TestTangUnknown`},
	{`D25 who is not in a known network is told of`, `kms/server/tang/keeper/record.go`, `if front.Contains(known, a.From) || len(known) == 0 &&`, `if front.Contains(known, a.From) || len(known) > 0 ||`, `./kms/server`, `TestTangUnknown`},
	{`tang: recorded before it is answered`, `kms/server/tang/keeper/record.go`, `		return &ledger.Unavailable{Err: err}
	}
	return refused`, `		return nil
	}
	return refused`, `./kms/server`, `TestTangFullDisk`},
	{`tang: a rotation hides`, `kms/server/tang/keeper/change.go`, `			row.Hidden = &now
			detail`, `			_ = now
			detail`, `./kms/server`, `TestTangRotate`},
	{`tang: the last key of a kind is advertised`, `kms/server/tang/keeper/change.go`, `row.Key.Signs() && signs == 0 || row.Key.Exchanges() && exchanges == 0`, `false`, `./kms/server`, `TestTangHideAndRetire`},
	{`tang: what is advertised is not retired`, `kms/server/tang/keeper/retire.go`, `case row.Hidden == nil && !of.Revoked:`, `case false:`, `./kms/server`, `TestTangHideAndRetire`},
	{`tang: an old signing key vouches for the new ones`, `kms/server/tang/keeper/advert.go`, `one.signers = append(one.signers, *also)`, `_ = also`, `./kms/server`, `TestTangRotate`},
	{`tang: advertisements follow the keys`, `kms/server/tang/keeper/advert.go`, `names = append(names, k.Key.Thumbprint())`, `names = append(names, k.Client)`, `./kms/server`, `TestTangRotate`},
	{`tang: what was retired does not come back`, `kms/server/tang/keeper/files.go`, `if found && there.Retired != nil {`, `if false {`, `./kms/server`, `TestOpenAPI`},
	{`tang: hidden files stay hidden`, `kms/operator/tang.go`, `Hidden: strings.HasPrefix(e.Name(), ".")`, `Hidden: false`, `./cmd/latchkey-kms`, `TestScripts/tang`},
	{`tang: keys are not written beside others`, `kms/operator/tang.go`, `at >= 0 {`, `false {
		_ = at`, `./cmd/latchkey-kms`, `TestScripts/tang`},
}
