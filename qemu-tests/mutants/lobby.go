package main

// ofLobby are rules of machines that wait for an operator's word.
var ofLobby = []mutant{
	{`D81 a hint that changed nothing is followed by a pause`, `boot/worker/pace.go`, `p.called = !p.called && len(cookie) > 0`, `p.called = len(cookie) > 0`, `./boot/worker`, `TestPace`},
	{`D81 a silent server is not waited for for ever`, `boot/worker/pace.go`, `context.WithTimeout(ctx, kms.MaxWait)`, `context.WithTimeout(ctx, 9*kms.MaxWait)`, `./boot/worker`, `TestPace`},
	{`D81 a connection that ends is no hint`, `kms/wait.go`, `s.once(ctx, WaitPath`, `s.post(ctx, WaitPath`, `./kms/server`, `TestWait`},
	{`D81 what a machine did itself calls nobody`, `kms/server/lk1/lobby.go`, `if e.TH2 != "" {`, `if false {`, `./kms/server`, `TestWait`},
	{`D81 each machine is told of itself`, `kms/server/lk1/lobby.go`, `all = slices.Clone(l.of[id])`, `all = slices.Clone(l.of[id]); for _, one := range l.of { all = append(all, one...) }`, `./kms/server`, `TestWait`},
	{`D81 what was done before is told at once`, `kms/server/lk1/lobby.go`, `	case done: // between`, `	case done && false: // between`, `./kms/server`, `TestWaitForWhatWasDone`},
	{`D81 what is decided for all is told to all`, `kms/server/lk1/lobby.go`, `		if ofAll(e) {`, `		if false {`, `./kms/server`, `TestWaitForAll`},
	{`D81 the policy is told to all`, `kms/server/lk1/policy.go`, `	s.lobby.hurry(s.lobby.everybody(), lobbyShort)
`, ``, `./kms/server`, `TestWaitForAll`},
	{`D81 not all at one moment`, `kms/server/lk1/lobby.go`, `time.Now().Add(rand.N(within))`, `time.Now().Add(within - 1 + rand.N(1))`, `./kms/server`, `TestWaitForAll`},
	{`D82 an address has a limit of waits`, `kms/front/park.go`, `p.address[c.addr] >= l.most.PerAddress`, `false`, `./kms/server`, `TestWaitLimit`},
	{`D82 who waits takes no place of who asks`, `kms/front/park.go`, `	l.drop(c)
	c.parked`, `	c.parked`, `./kms/server`, `TestWaitLimit`},
	{`D82 nobody waits without a cookie`, `kms/server/lk1/lobby.go`, `	if err != nil {
		s.reply(w, r, nil, err)
		return
	}`, `	if err != nil {
		g = &guest{until: began.Add(lobbyLife)}
	}`, `./kms/server`, `TestWaitForged`},
}
