package main

// ofPage are rules of the administration in a browser.
var ofPage = []mutant{
	{`top approves what was looked at`, `kms/operator/top/keys.go`, `Seen: n.Seen, Unmeasured`, `Unmeasured`, `./cmd/latchkey-kms`, `TestScripts/top$`},
	{`top asks before it gives a secret that is there`, `kms/operator/top/keys.go`, `a.Standing == lk1.Stored || `, ``, `./kms/operator/top`, `TestChoices`},
	{`top takes only y for yes`, `kms/operator/top/keys.go`, `if key == "y" {`, `if key != "n" {`, `./kms/operator/top`, `TestOnlyYIsYes`},
	{`top shows no escape sequence`, `kms/operator/top/screen.go`, `if unicode.IsPrint(r) {`, `if r != 0 || unicode.IsPrint(r) {`, `./kms/operator/top`, `TestNothingMoves`},
	{`top says what is old`, `kms/operator/top/screen.go`, `case v.failed != nil:`, `case v.failed != nil && v.open != nil:`, `./kms/operator/top`, `TestOldIsSaid`},
	{`page: only who is signed in`, `kms/page/visit.go`, "		if err != nil {\n			p.mustSignIn", "		if err != nil && r == nil {\n			p.mustSignIn", `./kms/server`, `TestPage`},
	{`page: asks as the person, not as the server`, `kms/page/page.go`, `o.API.HandlerFor(p.identify)`, `o.API.AdminHandler()`, `./kms/server`, `TestPageRefuses`},
	{`page: what was looked at is approved`, `kms/page/machines.go`, `lk1.Approval{Who: id, Seen: shown, `, `lk1.Approval{Who: id, `, `./kms/server`, `TestPageApproves`},
	{`page: a form says what was looked at`, `kms/page/machines.go`, `(verb == "approve" || verb == "accept" || verb == "push") && shown == ""`, `false`, `./kms/server`, `TestPageApproves`},
	{`page: a sign-in leads to no other site`, `kms/page/signin.go`, `strings.HasPrefix(to, "//")`, `false`, `./kms/server`, `TestPageSession`},
	{`page: links of the audit log are no text`, `kms/page/audit.go`, `template.URL(older.Encode())`, `template.URL(url.QueryEscape(older.Encode()))`, `./kms/server`, `TestPageLinks`},
	{`page: what was done is said once`, `kms/page/machines.go`, `Name: doneCookie, Path: "/", MaxAge: -1,`, `Name: "x", Path: "/", MaxAge: -1,`, `./kms/server`, `TestPageLinks`},
	{`session: a token that is revoked ends it`, `kms/admin/session.go`, `if err != nil || s.Token == nil {`, `if true {`, `./kms/server`, `TestPageRefuses`},
	{`session: it has an end`, `kms/admin/session.go`, `!now.Before(s.Expires) || `, ``, `./kms/server`, `TestPageSession`},
	{`session: a day at most`, `kms/admin/session.go`, `min(life, MaxSession)`, `life`, `./kms/server`, `TestPageSession`},
	{`session: signing out ends it at the server`, `kms/admin/session.go`, `if v.Has(tableSignouts, signoutKey(string(s.ID))) {`, `if false {`, `./kms/server`, `TestPageSignOut`},
	{`session: signed out everywhere`, `kms/admin/session.go`, ` || !s.Began.After(ended) {`, ` {`, `./kms/server`, `TestPageSignOut`},
	{`session: everybody is signed out`, `kms/admin/session.go`, `if _, err := a.ledger.RetireKey(ctx, ring, v.Version); err != nil {`, `if false {`, `./kms/server`, `TestPageSignOut`},
	{`oidc: the state is this browser's`, `kms/page/oidc.go`, `[]byte(state)) != 1`, `[]byte(state)) == 7`, `./kms/server`, `TestPageProviderRefuses`},
	{`oidc: who is in no group is nobody`, `kms/page/oidc.go`, `if s.Scope == "" {`, `if false {`, `./kms/server`, `TestPageProviderRefuses`},
	{`oidc: the widest of the scopes`, `kms/page/oidc.go`, `&& (admin.Person{Scope: g.Scope}).May(s.Scope) {`, `&& s.Scope == "" {`, `./kms/server`, `TestPageProvider$`},
}
