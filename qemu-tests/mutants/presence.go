package main

// ofPresence are the rules of beats, and of who was not seen.
var ofPresence = []mutant{
	{`D46 who was away waits`, `kms/server/policy/presence.go`, `case f.Vanishes():`, `case false:`, `./kms/server/policy`, `TestPresence$`},
	{`D46 who vanished stays so`, `kms/server/policy/presence.go`, `case !f.Vanished.IsZero():`, `case false:`, `./kms/server/policy`, `TestPresence$`},
	{`D46 it is noted that a machine vanished`, `kms/server/lk1/presence.go`, `row.Vanished, row.Back, row.BackHome = f.Now, false, false`, `row.Back = false`, `./kms/server`, `TestStolenMachineGetsNothing`},
	{`D46 a gap between beats is noticed by the beat`, `kms/server/lk1/presence.go`, `return f.Vanishes() || moves`, `return moves`, `./kms/server`, `TestGapBetweenLooks`},
	{`D47 nobody is absent while no server runs`, `kms/server/policy/presence.go`, `if was && o.To.After(last) {`, `if was && false {`, `./kms/server/policy`, `TestPresence$`},
	{`D47 who was away before stays so`, `kms/server/policy/presence.go`, `&& o.From.Sub(last) <= limit`, ``, `./kms/server/policy`, `TestPresence$`},
	{`D47 seven days at most`, `kms/server/policy/presence.go`, `o.To.Sub(o.From) <= maxOutage && `, ``, `./kms/server/policy`, `TestPresence$`},
	{`D47 an outage is noted`, `kms/server/presence/outage.go`, `case late > grace*time.Duration(s.Every)*time.Second:`, `case late > 999*grace*time.Duration(s.Every)*time.Second:`, `./kms/server/presence`, `TestOutages`},
	{`D47 a time ahead counts as now`, `kms/server/presence/presence.go`, `if s.At.After(now) {`, `if false {`, `./kms/server/presence`, `TestTimeAhead`},
	{`D47 a time ahead gives way`, `kms/server/presence/presence.go`, `if old.At.After(now.Add(ahead)) {`, `if false {`, `./kms/server/presence`, `TestTimeAhead`},
	{`D40 a beat counts from its ticket on`, `kms/server/lk1/beat.go`, `at: ticket.At.UTC().Truncate(time.Second)}`, `at: now.Truncate(time.Second)}`, `./kms/server`, `TestOldBeatProvesNothingNew`},
	{`D40 what is no news moves nobody`, `kms/server/lk1/presence.go`, `if !b.at.After(f.Beat) {`, `if false {`, `./kms/server`, `TestMovedMachine`},
	{`D41 the null hierarchy`, `kms/server/attest/beat.go`, `case string(qualified) != string(qualifiedName(null, want)):`, `case len(qualified) == 99:`, `./kms/server`, `TestKeysOfBeats`},
	{`D41 quote and certificate are of one boot`, `kms/server/lk1/beat.go`, `if (clock{Reset: c.Reset, Restart: c.Restart}) != p.clock {`, `if c.Reset == 99 {`, `./kms/server`, `TestKeysOfBeats`},
	{`D41 a later boot ends the tickets`, `kms/server/lk1/beat.go`, `case b.boot.Before(row.Clock):`, `case false:`, `./kms/server`, `TestBeatsThatAreNone`},
	{`D42 certificate: magic`, `kms/server/attest/beat.go`, `case a.magic != tpmGenerated:`, `case false:`, `./kms/server`, `TestKeysOfBeats`},
	{`D42 certificate: type`, `kms/server/attest/beat.go`, `case a.kind != attestCertify:`, `case false:`, `./kms/server`, `TestKeysOfBeats`},
	{`D42 certificate: signer`, `kms/server/attest/beat.go`, `case string(a.signer) != string(EndorsementName(NameOf(akPublic))):`, `case false:`, `./kms/server`, `TestKeysOfBeats`},
	{`D42 certificate: challenge`, `kms/server/attest/beat.go`, `case subtle.ConstantTimeCompare(a.extra, extra) != 1:`, `case false:`, `./kms/server`, `TestKeysOfBeats`},
	{`D42 certificate: key`, `kms/server/attest/beat.go`, `case string(name) != string(want):`, `case len(name) == 99:`, `./kms/server`, `TestKeysOfBeats`},
	{`D42 a beat is signed`, `kms/server/attest/beat.go`, `if !ecdsa.Verify(`, `if false && !ecdsa.Verify(`, `./kms/server`, `TestBeatsThatAreNone`},
	{`D44 nobody beats who was not approved`, `kms/server/lk1/beat.go`, `case row.State != fleet.Approved:`, `case false:`, `./kms/server`, `TestBeatsThatAreNone`},
	{`D44 nobody beats in quarantine`, `kms/server/lk1/beat.go`, `case row.Quarantined:`, `case false:`, `./kms/server`, `TestBeatsThatAreNone`},
	{`D44 nobody beats where it may not be`, `kms/server/lk1/beat.go`, `if len(f.Settings.Networks) > 0 && policy`, `if false && policy`, `./kms/server`, `TestBeatsThatAreNone`},
	{`D44 the policy decides who registers`, `kms/server/lk1/beat.go`, `d := &kms.Decision{Status: verdict.Status}`, `d := &kms.Decision{Status: kms.OK}`, `./kms/server`, `TestWhoMayBeat`},
	{`D45 answers are known by a key`, `kms/beat.go`, `!hmac.Equal(want[:], answer.MAC[:])`, `false && !hmac.Equal(want[:], answer.MAC[:])`, `./kms/server`, `TestBeatsKnowTheirKMS`},
	{`moved: asks from elsewhere`, `kms/server/policy/presence.go`, `if at.IsValid() && at != f.Home {`, `if false {`, `./kms/server/policy`, `TestMoved$`},
	{`moved: renewing takes the network`, `kms/server/lk1/presence.go`, `row.Home, row.MovedTo = netip.Prefix{}, netip.Prefix{}`, `row.MovedTo = netip.Prefix{}`, `./kms/server`, `TestMovedMachine`},
	{`the beat: one that is late is followed by another`, `boot/beat/beat.go`, `late > 2*m.Every {`, `late > 9999*m.Every {`, `./boot/beat`, `TestServerAway`},
	{`the beat: who is refused asks seldom`, `boot/beat/beat.go`, `most = max(refusedMost, m.Every)`, `most = m.Every`, `./boot/beat`, `TestRefused`},
	{`the beat: a failure is no loop`, `boot/beat/beat.go`, `pause := firstPause << min(m.failed-1, 10)`, `pause := time.Second`, `./boot/beat`, `TestServerAway`},
	{`the beat: another store is registered with`, `boot/beat/beat.go`, `case failed.Code() == kms.CodeNoGrant:
		if`, `case false:
		if`, `./boot/beat`, `TestAnotherStore`},
	{`the beat: a TPM that failed is opened again`, `boot/beat/beat.go`, `m.key.Close()
		m.key = nil
	case`, `case`, `./boot/beat`, `TestTPMFails`},
	{`the beat: what is no key server is set aside`, `boot/beat/beat.go`, `m.Servers.SetAside(*m.server)`, ``, `./boot/beat`, `TestRogueServer`},
	{`the beat: the TPM is closed at the end`, `boot/beat/beat.go`, `if m.key != nil {
		m.key.Close()
	}`, ``, `./boot/beat`, `TestBeats`},
	{`beats of a site reach the center`, `kms/server/site/center.go`, `kms.RecoveryPath, kms.BeatPath}`, `kms.RecoveryPath}`, `./kms/server`, `TestSitePassesBeatsOn`},
	{`presence: five minutes at least`, `kms/server/policy/presence.go`, `d != 0 && d < MinPresence`, `false && d < MinPresence`, `./kms/server/policy`, `TestPresenceSettings`},
	{`presence: what could not be written is written later`, `kms/server/presence/presence.go`, `b.giveBack(left)`, ``, `./kms/server/presence`, `TestWriteFails`},
	{`who is back from elsewhere is not renewed with all`, `kms/server/lk1/presence.go`, `row.Back && row.BackHome`, `row.Back`, `./kms/server`, `TestRenewThoseThatAreBack`},
	{`a group cannot ask for fewer people`, `kms/server/policy/config.go`, `, c.Defaults.checkPeople(g.Settings)`, ``, `./kms/server`, `TestTermsByProtocol`},
}
