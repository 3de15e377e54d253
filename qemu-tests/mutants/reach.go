package main

// ofReach are the rules of operators who administer machines with some labels.
var ofReach = []mutant{
	{`D69 an id is no name`, `kms/server/terms/sight.go`, `	case isID:`, `	case isID && false:`, `./kms/server`, `TestReachNames`},
	{`D69 words are no name for who does not see whose`, `kms/server/terms/sight.go`, `case !s.Whole() && kms.AreWords(after):`, `case !s.Whole() && kms.AreWords(after) && false:`, `./kms/server`, `TestReachNames`},
	{`D70 no labels are no bound: tokens`, `kms/admin/reach.go`, `if r != nil && len(r) == 0 {`, `if false {`, `./kms/server`, `TestTokenWithoutLabels`},
	{`D70 no labels are no bound: kms.yaml`, `internal/strictyaml/strictyaml.go`, `words != ""`, `false && words != ""`, `./kms/config`, `TestAdmin`},
	{`D65 a route that says nothing is refused`, `kms/admin/reach.go`, `one.Reaching == SameForAll || one.Reaching == Within {`, `one.Reaching != OnlyWhole || one != nil {`, `./kms/server`, `TestReachOfAllRoutes`},
	{`D65 a reach goes with who asks`, `kms/admin/route.go`, `ctx = Reaches(context.WithValue(ledger.As(ctx, p.Who), scopeKey{}, p.Scope), p.Reach)`, `ctx = Reaches(context.WithValue(ledger.As(ctx, p.Who), scopeKey{}, p.Scope), nil)`, `./kms/server`, `TestReachOfAllRoutes`},
	{`D65 nodes are those in reach`, `kms/server/lk1/sight.go`, `return v.sight.Sees(row.machine())`, `return v.sight.Sees(row.machine()) || row.State != fleet.Deleted`, `./kms/server`, `TestReachOfAllRoutes`},
	{`D65 words find nobody else's node`, `kms/server/lk1/find.go`, `if yes, err := v.nodes()(id); yes || err != nil {`, `if yes, err := v.nodes()(id); yes || err == nil {`, `./kms/server`, `TestReachOfAllRoutes`},
	{`D65 names find nobody else's node`, `kms/server/lk1/find.go`, `err := v.theirs().All(v.View,`, `err := v.s.rows.fleet.All(v.View,`, `./kms/server`, `TestReachOfAllRoutes|TestReachOfNames`},
	{`D65 volumes are those of nodes in reach`, `kms/server/lk1/volumes.go`, `	if err == nil && len(rows) == 0 {`, `	if err == nil && len(rows) == 0 && v.sight.Whole() {`, `./kms/server`, `TestReachOfAllRoutes`},
	{`D65 what another has is changed by nobody else`, `kms/server/lk1/sight.go`, `	if err == nil && !yes {
		err = noVolume(uuid)`, `	if err == nil && !yes && owner == nobody {
		err = noVolume(uuid)`, `./kms/server`, `TestReachOfAllRoutes`},
	{`D65 what no machine has is for who administers all`, `kms/server/lk1/sight.go`, `	if err == nil && !yes {
		err = noVolume(uuid)`, `	if err == nil && !yes && owner != nobody {
		err = noVolume(uuid)`, `./kms/server`, `TestReachOfVolumes`},
	{`D65 an approval takes nothing of another's`, `kms/server/lk1/binding.go`, `case asked.foreign:`, `case false:`, `./kms/server`, `TestReachOfVolumes`},
	{`D65 a move of what is another's is refused`, `kms/server/lk1/binding.go`, `case asked.foreign && b.Move && slices.Contains(b.Volumes, uuid):`, `case asked.foreign && false:`, `./kms/server`, `TestReachOfVolumes`},
	{`D65 an approval names no volume that is not asked for`, `kms/server/lk1/sight.go`, `if v.sight.Whole() || slices.Contains(v.wanted(row), uuid) {`, `if v.sight.Whole() || len(v.wanted(row)) >= 0 || slices.Contains(v.wanted(row), uuid) {`, `./kms/server`, `TestReachOfVolumes`},
	{`D65 nobody is registered beforehand`, `kms/server/lk1/approve.go`, `	if t.sight.Whole() {
		return t.node(id)`, `	if t.s != nil {
		return t.node(id)`, `./kms/server`, `TestReachOfAllRoutes|TestReachTakesInOthers`},
	{`D65 recovery keys are those of nodes in reach`, `kms/server/lk1/recoveryadmin.go`, `if yes, failed = sees(one.Node); yes {`, `if yes, failed = sees(one.Node); yes || failed == nil {`, `./kms/server`, `TestReachOfAllRoutes`},
	{`D65 the stream is silent of others`, `kms/server/lk1/waiting.go`, `if err != nil || !of(id) {`, `if err != nil {`, `./kms/server`, `TestReachOfWatch`},
	{`D65 the audit log is that of machines in reach`, `kms/admin/api.go`, `	case ReachOf(ctx).Whole():`, `	case ReachOf(ctx).Whole() || a != nil:`, `./kms/server`, `TestReachOfAllRoutes`},
	{`D65 Kairos, too`, `kms/server/kairos/keeper/sight.go`, `return sight.Sees(row.sighted())`, `return row.State != fleet.Deleted`, `./kms/server`, `TestReachOfAllRoutes`},
	{`D65 Talos, too`, `kms/server/talos/keeper/sight.go`, `return sight.Sees(row.sighted())`, `return row.State != fleet.Deleted`, `./kms/server`, `TestReachOfAllRoutes`},
	{`D65 pages do not show who else may`, `kms/page/fleet.go`, `if !v.person.Reach.Whole() {`, `if false {`, `./kms/server`, `TestReachOfPagesInABrowser`},
	{`D65 a reach is of a session, too`, `kms/page/signin.go`, `, Reach: s.Reach}`, `}`, `./kms/server`, `TestReachOfPagesInABrowser|TestReachOfGroups`},
	{`D65 groups of a lower scope reach no further`, `kms/page/oidc.go`, `case !higher: //`, `case false: //`, `./kms/server`, `TestReachOfGroups`},
	{`D65 hooks with labels hear of no others`, `kms/server/hook/hook.go`, `if len(h.Labels) > 0 && (`, `if len(h.Labels) > 99 && (`, `./kms/server/hook`, `TestHookOfLabels`},
	{`D66 a machine in their network is taken in, no other`, `kms/server/policy/protocol.go`, `return p.Contains(from)`, `return p.Contains(from) || p.IsValid()`, `./kms/server`, `TestReachTakesIn$`},
	{`D66 one with a label is whose that says`, `kms/server/terms/sight.go`, `m.State != fleet.Pending || s.reach.Owned(m.Labels) {`, `m.State != fleet.Pending {`, `./kms/server`, `TestReachTakesIn$`},
	{`D66 one that is approved is taken in by nobody`, `kms/server/terms/sight.go`, `m.State != fleet.Pending || s.reach.Owned(m.Labels) {`, `s.reach.Owned(m.Labels) {`, `./kms/server`, `TestReachTakesIn$`},
	{`D66 everybody's network takes in nobody`, `kms/server/policy/protocol.go`, `	for _, g := range p.Groups {
		if g.Label == label && g.Value == value &&`, `	networks = p.Defaults.Networks
	for _, g := range p.Groups {
		if g.Label == label && g.Value == value &&`, `./kms/server`, `TestReachTakesInByItsOwnNetwork`},
	{`D66 approving says whose it is`, `kms/server/terms/sight.go`, `	t.Labels = labels
`, `	_ = labels
`, `./kms/server`, `TestReachTakesIn$`},
	{`D66 labels take nothing in or out`, `kms/server/terms/sight.go`, `if s.Whole() || was == is && s.Sees(after) {`, `if s.Whole() || was == is || was != is {`, `./kms/server`, `TestReachKeepsLabels`},
	{`D66 nor before a machine is approved`, `kms/server/terms/sight.go`, `if s.Whole() || was == is && s.Sees(after) {`, `if s.Whole() || was == is {`, `./kms/server`, `TestReachKeepsLabels`},
	{`D66 as many people as the group of the network needs`, `kms/server/policy/protocol.go`, `most = max(most, p.For(protocol, there).People())`, `_ = there`, `./kms/server`, `TestPeopleOfTheGroup`},
	{`D66 the same of Kairos and Talos`, `kms/server/terms/several.go`, `p.PeopleAt(d.Protocol, d.Before, d.Machine.Waits())`, `p.For(d.Protocol, d.Before).People()`, `./kms/server`, `TestPeopleOfTheGroupOfOthers`},
	{`D66 the label of who said it first`, `kms/server/terms/several.go`, `range append(before, admin.ReachOf(ctx)) {`, `range append(before[:0], admin.ReachOf(ctx)) {`, `./kms/server`, `TestPeopleOfTheGroup`},
	{`D66 a word of before it was another's`, `kms/server/lk1/people.go`, ` && v.reaches(w.Reach, id) {`, ` {`, `./kms/server`, `TestReachEndsWords`},
}

// ofLinks are the rules of links that approve.
var ofLinks = []mutant{
	{`D67 a link needs the words of its machine`, `kms/server/lk1/link.go`, `if !sameWords(w.Words, l.Node) {`, `if w.Words == "" {`, `./kms/server`, `TestLinkRefuses`},
	{`D67 a link is used up`, `kms/server/lk1/link.go`, `		if err := t.Unmark(tableLinks, linkKey(link)); err != nil {
			return err
		}
		out, err = t.approve(`, `		out, err = t.approve(`, `./kms/server`, `TestLinkIsUsedUp`},
	{`D67 a link is used up by a word that is noted`, `kms/server/lk1/link.go`, `		if err := t.Unmark(tableLinks, linkKey(link)); err != nil {
			return err
		}
		if err := t.keepWord(`, `		if err := t.keepWord(`, `./kms/server`, `TestLinkIsOnePerson`},
	{`D67 three guesses`, `kms/server/lk1/link.go`, ` || l.Wrong >= linkTries {`, ` {`, `./kms/server`, `TestLinkGuesses`},
	{`D67 guesses are counted`, `kms/server/lk1/linklife.go`, `l.Wrong++`, `l.Wrong += 0`, `./kms/server`, `TestLinkGuesses`},
	{`D67 minutes`, `kms/server/lk1/link.go`, `if v.s.ledger.Now() >= l.Until || l`, `if l`, `./kms/server`, `TestLinkEnds`},
	{`D67 guesses are those of a machine and a hook`, `kms/server/lk1/linklife.go`, `wrong, over = row.Wrong, row.Wrong < linkTries`, `wrong, over = 0, true`, `./kms/server`, `TestLinkIsOneAtATime`},
	{`D67 one link at a time`, `kms/server/lk1/linklife.go`, `wrong, over = row.Wrong, row.Wrong < linkTries`, `wrong = row.Wrong`, `./kms/server`, `TestLinkIsOneAtATime`},
	{`D67 a link that is over has another`, `kms/server/lk1/policy.go`, `return t.renewLinks(p, d, verdict.Reason)`, `return nil`, `./kms/server`, `TestLinkAfterALink`},
	{`D67 not more often than in ten minutes`, `kms/server/lk1/linklife.go`, `err != nil || age >= 0 && age < linkLife {`, `err != nil || age < 0 {`, `./kms/server`, `TestLinkAfterALink`},
	{`D67 its notice is for hooks with links`, `kms/server/hook/hook.go`, `	if h.Blind {
		names`, `	if true {
		names`, `./kms/server/hook`, `TestBlindHookAgain`},
	{`D67 and for nobody without a link`, `kms/server/hook/hook.go`, `if q.Blind && n.Event == linkOver && told.Link == "" {`, `if false {`, `./kms/server/hook`, `TestBlindHookAgain`},
	{`D67 links of an earlier process`, `kms/server/lk1/linklife.go`, `err != nil || row.Newest.IsZero() {`, `err != nil && row.Newest.IsZero() {`, `./kms/server`, `TestLinkOfAnEarlierProcess`},
	{`D67 of what the machine showed`, `kms/server/lk1/link.go`, ` || row.stillShows(l.Seen) != nil) {`, `) {`, `./kms/server`, `TestLinkRefuses`},
	{`D67 of what was to be given`, `kms/server/lk1/link.go`, `if view.Shown != w.Shown {`, `if view.Shown != w.Shown && w.Shown == "x" {`, `./kms/server`, `TestLinkGivesWhatWasSeen`},
	{`D67 a link of nobody is not one of two`, `kms/server/lk1/people.go`, `	if t.nameless {`, `	if false {`, `./kms/server`, `TestLinkIsOnePerson`},
	{`D67 a link of nobody is not one of two of a group`, `kms/server/lk1/link.go`, `t.nameless = l.Holder.Person == ""`, `t.nameless = l.Holder.Person == "" && s.settings(&row).People() > 1`, `./kms/server`, `TestLinkOfNobodyInAGroup`},
	{`D67 a hook of nobody where two must approve is named`, `kms/config/warnings.go`, `if group.Label == "protocol" {`, `if group.Label != "" {`, `./kms/config`, `TestWarningsOfLinks`},
	{`D67 and of no other group`, `kms/config/warnings.go`, `return key != group.Label || value == group.Value`, `return key != "" || value == group.Value`, `./kms/config`, `TestWarningsOfLinks`},
	{`D67 a link is who it is sent to`, `kms/server/lk1/link.go`, `Is: l.Holder.Person,`, `Is: link,`, `./kms/server`, `TestLinkIsOnePerson`},
	{`D67 a link reaches no further than its hook`, `kms/server/lk1/link.go`, `row, found, err := v.theirs().Get(v.View, l.Node[:])`, `row, found, err := v.node(l.Node)`, `./kms/server`, `TestLinksThatAreNot`},
	{`D67 so many links`, `kms/server/lk1/link.go`, `n >= linkMost || wrong`, `n > 1<<20 || wrong`, `./kms/server`, `TestLinksThatAreNot`},
	{`D67 the page does not show others' words`, `kms/server/lk1/linkview.go`, `out.Asks[i].Others = nil //`, `_ = out.Asks[i] //`, `./kms/server`, `TestLinkHidesOthers`},
	{`D67 nothing is said twice`, `kms/page/link.go`, `if len(said) > 1 {`, `if len(said) > 2 {`, `./kms/server`, `TestLinkTakesNothingTwice`},
	{`D67 no Referer`, `kms/page/link.go`, `w.Header().Set("Referrer-Policy", "no-referrer")
	one`, `one`, `./kms/server`, `TestLinkApproves`},
	{`D67 links are not searched`, `kms/page/link.go`, `return t.n > maxForged`, `return t.n < 0`, `./kms/server`, `TestLinksAreNotSearched`},
	{`D68 who approves by words is told none`, `kms/server/hook/hook.go`, `n.Words, n.Node, n.Link = "", "", ""`, `n.Link = ""`, `./kms/server/hook`, `TestBlindHook`},
	{`D68 a program does not put the link into the log`, `kms/server/hook/program.go`, `if m.Link != "" { //`, `if false { //`, `./kms/server/hook`, `TestBlindProgram`},
}
