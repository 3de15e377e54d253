package main

// ofSites are the rules of sites that go on when they are cut off.
var ofSites = []mutant{
	{`D30 a site goes on for so long`, `kms/server/site/bounds.go`, `case c.Spent >= time.Duration(b.Offline):`, `case false:`, `./kms/server`, `TestSiteBounds`},
	{`D30 a machine gets its keys so often`, `kms/server/site/bounds.go`, `case given >= b.Releases:`, `case false:`, `./kms/server`, `TestSiteBounds|TestSiteHistories`},
	{`D30 so many machines get theirs`, `kms/server/site/bounds.go`, `case given == 0 && c.Machines >= b.Machines:`, `case false:`, `./kms/server`, `TestSiteBounds|TestSiteHistories`},
	{`D30 so many releases in all`, `kms/server/site/bounds.go`, `case c.Releases >= b.InAll:`, `case false:`, `./kms/server`, `TestSiteBoundInAll`},
	{`D30 a clock that is set back while nothing runs`, `kms/server/site/bounds.go`, `if wall.Before(c.Seen) {`, `if false {`, `./kms/server`, `TestSiteClock`},
	{`D30 a clock that is set back while it runs`, `kms/server/site/bounds.go`, `c.Spent = max(c.Spent, passed, a.base+time.Since(a.began))`, `c.Spent = max(c.Spent, passed)`, `./kms/server`, `TestSiteClock`},
	{`D30 what was given is kept`, `kms/server/site/bounds.go`, `c.Releases++`, `c.Releases += 0`, `./kms/server`, `TestSiteBoundInAll`},
	{`D30 only when it is cut off`, `kms/server/site/bounds.go`, `if now != wireCut || self.Removed || self.Refused != "" {`, `if now == 0 || self.Removed || self.Refused != "" {`, `./kms/server`, `TestSiteSpendsOnce`},
	{`D32 a site that was refused gives nothing`, `kms/server/site/bounds.go`, `self.Removed || self.Refused != "" {`, `self.Removed {`, `./kms/server`, `TestSitePutBack`},
	{`D30 it has a copy`, `kms/server/site/bounds.go`, `if !t.View.Has(tableSelf, keyOf(prefixHave, node)) {`, `if false {`, `./kms/server`, `TestSiteOnlyGives`},
	{`D30 what is gone is destroyed`, `kms/server/site/take.go`, `if err := f.nodes.DropCopy(t, id); err != nil {`, `if err := error(nil); err != nil {`, `./kms/server`, `TestSiteQuarantine`},
	{`D30 a site that was removed is wiped`, `kms/server/site/follow.go`, `return f.wipe(ctx)`, `return errGone`, `./kms/server`, `TestSiteRemoved`},
	{`D30 who is stopped has no copy`, `kms/server/lk1/copy.go`, `row.State == fleet.Approved && !row.Quarantined && !row.Awaits && !row.Takes`, `row.State == fleet.Approved && !row.Awaits && !row.Takes`, `./kms/server`, `TestSiteQuarantine`},
	{`D30 a release that was retired`, `kms/server/lk1/copy.go`, `if policy.Judge(f).Failed(policy.RuleBootState) {`, `if false {`, `./kms/server`, `TestSiteBootState`},
	{`D30 what a release judged is pinned`, `kms/server/lk1/copy.go`, `all := f.BootedRelease() != ""`, `all := false`, `./kms/server`, `TestSiteBootState`},
	{`D30 settings go with the machine`, `kms/server/lk1/copy.go`, `row.Settings, row.Pins = own, pins`, `row.Pins = pins`, `./kms/server`, `TestSiteKeepsSettings`},
	{`sites: no staged secret`, `kms/server/lk1/copy.go`, `secretKey(key, active))
	return c, err`, `secretKey(key, active))
	c.Row.Due = true
	return c, err`, `./kms/server`, `TestSiteAsksForNothing`},
	{`D30 nothing but get`, `kms/server/site/relay.go`, `hello.Operation != kms.Get {`, `hello.Operation == 0 {`, `./kms/server`, `TestSiteOnlyGives`},
	{`D30 an operator changes nothing there`, `kms/admin/route.go`, `a.routes[i].Do = func(*http.Request) (any, error) { return nil, fmt.Errorf("%w: %s", ledger.ErrRefused, why) }`, `_ = why`, `./kms/server`, `TestSiteOnlyGives`},
	{`D31 the center has its key`, `kms/server/site/tls.go`, `!ok || !slices.Contains(pins, pin) {`, `!ok || !slices.Contains([]kms.Pin{pin}, pin) {`, `./kms/server`, `TestSiteCannotBeFed`},
	{`D31 a token is good once`, `kms/server/site/sites.go`, `s.Pin, s.Token, s.Expires = pin.String(), nil, time.Time{}`, `s.Pin, s.Expires = pin.String(), s.Expires`, `./kms/server`, `TestSiteJoinsOnce`},
	{`D31 a site has its own`, `kms/server/site/sites.go`, `if got, ok := labels[name]; !ok || got != value {`, `if got, ok := labels[name]; !ok || got+value == "" {`, `./kms/server`, `TestSiteHasItsOwn|TestSiteStolen`},
	{`D31 a site counts its own`, `kms/server/site/merge.go`, `if !found || !s.of(labels) {`, `if !found || labels == nil {`, `./kms/server`, `TestSiteStolen`},
	{`D31 it signs what it says`, `kms/server/site/merge.go`, `if !ed25519.Verify(s.Key[:], signed(s.Name, said.End), said.Signature) {`, `if !ed25519.Verify(s.Key[:], signed(s.Name, said.End), said.Signature) && len(said.Signature) != ed25519.SignatureSize {`, `./kms/server`, `TestSiteStolen`},
	{`D31 where a machine asks from`, `kms/server/lk1/sites.go`, `if through && (v.s.sites == nil || !v.s.sites(v.View, site, row.Labels)) {`, `if through && site == "" {`, `./kms/server`, `TestSitePlaces`},
	{`D32 a log ends no earlier`, `kms/server/site/merge.go`, `if said.End.Seq < s.SaidEnd.Seq || `, `if `, `./kms/server/site`, `TestJudge`},
	{`D32 a log ends with what it signed`, `kms/server/site/merge.go`, `if at.Seq == end.Seq && at != end {`, `if at.Seq == end.Seq && false {`, `./kms/server/site`, `TestJudge`},
	{`D32 a log has no more than it signed`, `kms/server/site/merge.go`, `if at.Seq > said.End.Seq {`, `if false {`, `./kms/server/site`, `TestJudge`},
	{`D32 an event is taken over once`, `kms/server/site/merge.go`, `if l.Seq <= s.Merged.Seq {`, `if false {`, `./kms/server/site`, `TestJudge`},
	{`D32 a chain is followed`, `kms/ledger/links.go`, `chain(e.Hash, body)`, `chain([32]byte{}, body)`, `./kms/server`, `TestSiteGoesOn`},
	{`sites: a storm has room`, `kms/daemon/sites.go`, `front.Limits{PerAddress: 4 * site.MaxConnections, PerNetwork`, `front.Limits{PerNetwork`, `./kms/daemon`, `TestSitesInAStorm`},
	{`sites: limits go by what was given there`, `kms/server/lk1/bound.go`, `row.Clock, row.InBoot, row.Booted = c.Clock, c.InBoot, true`, `row.Booted = true`, `./kms/server`, `TestSiteGoesOn`},
}
