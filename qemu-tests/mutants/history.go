package main

// ofHistory are rules of the audit log's end: segments, checkpoints, archives.
var ofHistory = []mutant{
	{`history: the root of a checkpoint is compared (E5)`, `kms/ledger/walk.go`, `h.Size != s.End || h.Size != c.tree.Size() || h.Root != c.tree.Root()`, `h.Size == 0`, `./kms/ledger`, `TestCheckpointTells`},
	{`history: nothing is released once it is wrong (E5)`, `kms/ledger/txn.go`, "	if err := l.damaged(); err != nil {\n		return err\n	}\n", ``, `./kms/ledger`, `TestSealedHistory`},
	{`history: readyz tells that it is wrong (E5)`, `kms/ledger/health.go`, "	if err := l.damaged(); err != nil {\n		return err\n	}\n", ``, `./kms/ledger`, `TestSealedHistory`},
	{`history: no more is removed than max-size asks`, `kms/ledger/prune.go`, "		total -= s.Bytes\n", ``, `./kms/ledger`, `TestPrune`},
	{`history: a clock that jumped removes nothing`, `kms/ledger/prune.go`, `l.Jump().Abs() > maxJump`, `false`, `./kms/ledger`, `TestClockEndsNoHistory`},
	{`history: what is removed is shown to nobody`, `kms/ledger/audit.go`, `seq <= bases[server].Last {`, `false && seq <= bases[server].Last {`, `./kms/ledger`, `TestRemovedEventsPutBack`},
	{`history: a foreign removal is of removed segments (D12)`, `kms/ledger/guard.go`, `!ok || seq > bases[server].Last`, `!ok && seq > bases[server].Last`, `./kms/ledger`, `TestGuardFollowsRemoval`},
	{`history: an older store is not cut (H7)`, `kms/ledger/seal.go`, `err != nil || f.Version < formatSegments`, `err != nil || f.Version < 0`, `./kms/ledger`, `TestOlderFormat`},
	{`history: a witness that has seen more is a fork`, `kms/ledger/cosign.go`, `behind.Size > s.End`, `false`, `./kms/ledger`, `TestCosignAfter`},
	{`history: a cosignature is of this checkpoint`, `kms/history/witnesskey.go`, `if ed25519.Verify(k.key, `, `if true || ed25519.Verify(k.key, `, `./kms/history`, `TestCosigned`},
	{`history: a checkpoint is signed`, `kms/history/checkpoint.go`, "	n, err := note.Open([]byte(checkpoint), note.VerifierList(known...))\n	if err != nil {", "	n, err := note.Open([]byte(checkpoint), note.VerifierList(known...))\n	if n == nil {\n		n = &note.Note{Text: h.text()}\n	}\n	if false {", `./kms/history`, `TestCheckpoint`},
	{`bolt: a seal is of this very state`, `kms/store/bolt/clean.go`, `seal == string(said)`, `len(seal) > 0 && len(said) > 0`, `./kms/store/bolt`, `TestUncleanEnd`},
	{`bolt: free pages are in no use`, `kms/store/bolt/clean.go`, `id < 2 || id >= w.meta.high || !w.visit(id)`, `id < 2 || id >= w.meta.high`, `./kms/store/bolt`, `TestDamagedFreePages`},
	{`bolt: few free pages are in the file`, `kms/store/bolt/bolt.go`, `s.FreePageN+s.PendingPageN > mostFree`, `s.FreePageN >= 0`, `./kms/store/bolt`, `TestFreePagesAfterKill`},
	{`bolt: many free pages are not written each time`, `kms/store/bolt/bolt.go`, `s.FreePageN+s.PendingPageN > mostFree`, `s.FreePageN > 1<<30`, `./kms/store/bolt`, `TestFreePagesAfterKill`},
	{`bolt: what another trail finds counts`, `kms/store/bolt/verify.go`, `return errors.Join(failed...)`, `return errors.Join(failed[:0]...)`, `./kms/store/bolt`, `TestEachPageIsLookedAt`},
	{`bolt: only a log is left out after a clean end`, `kms/store/bolt/bolt.go`, `		skip = logs`, `		skip = append(logs, "t")`, `./kms/store/bolt`, `TestCleanEnd`},
	{`archive: what is written is read back`, `kms/history/archive/archive.go`, "	if err := verify(at, s); err != nil {\n		return false, err\n	}\n", ``, `./kms/history/archive`, `TestCutOff`},
	{`archive: events are those of the checkpoint`, `kms/history/archive/archive.go`, `tree.Size() != h.Size || tree.Root() != h.Root`, `false`, `./kms/history/archive`, `TestDamage`},
	{`archive: segments follow on each other`, `kms/history/archive/verify.go`, `err != nil || tree.Root() != before.Root`, `err != nil || tree.Size() == 0 && tree.Root() != before.Root`, `./kms/history/archive`, `TestDamage`},
	{`archive: the last segments are missed`, `kms/history/archive/verify.go`, `k.Origin == head.Origin && k.Size > head.Size`, `false`, `./kms/history/archive`, `TestDamage`},
	{`archive: what was removed is there`, `kms/history/archive/verify.go`, `errors.Is(err, fs.ErrNotExist) && s.Removed`, `false`, `./kms/history/archive`, `TestDamage`},
	{`reading costs no write, whoever reads (H6)`, `kms/admin/person.go`, `r.Method == http.MethodGet && !r.Gives`, `r.Method == http.MethodGet && !r.Gives && r.Scope == ScopeRead`, `./kms/server`, `TestReadingCosts`},
	{`what gives the database away is in the audit log (H6)`, `kms/admin/person.go`, `r.Method == http.MethodGet && !r.Gives`, `r.Method == http.MethodGet`, `./kms/server`, `TestReadingCosts`},
}
