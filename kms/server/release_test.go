package server_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"latchkey/kms"
	"latchkey/kms/server/lk1"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/release"
	"latchkey/kms/softtpm"
)

// build is a release of a UKI with this PCR 11.
func (f *fixture) build(name string, pcr11 byte) {
	f.t.Helper()
	if _, err := f.AddRelease(ctx, release.New{Name: name, PCRs: map[int]policy.Digest{11: {pcr11}}}); err != nil {
		f.t.Fatal(err)
	}
}

// booted is the node in its next boot of a build; it opens its volumes.
func (f *fixture) booted(n *softtpm.TPM, pcr11 byte, want string) {
	f.t.Helper()
	boots(n, [32]byte{pcr11})
	g, err := f.get(n)
	if code(err) != want {
		f.t.Fatalf("%s, boot of %d: Get = %v, want code %q", n.NodeID().Words(), pcr11, err, want)
	}
	if err != nil {
		return
	}
	if err := f.client().Report(ctx, f.url, g, []kms.Result{{UUID: root, Outcome: kms.OpenedActive, MAC: make([]byte, 32)}}); err != nil {
		f.t.Fatal(err)
	}
}

// A machine that is approved in a boot of a known release is bound to the
// release; what else it boots is refused, and says why.
func TestApprovalBindsToARelease(t *testing.T) {
	f := newKMS(t)
	f.build("2026.11", 11)
	node := f.approved()
	n, err := f.Node(node.NodeID().String())
	if err != nil || !slices.Equal(n.Settings.Releases, []string{"2026.11"}) || !strings.Contains(strings.Join(n.Cover.Lines, "\n"), "this UKI (PCR 11), by release 2026.11") {
		t.Fatalf("the node is bound to %v and covered by %+v (%v), want 2026.11", n.Settings.Releases, n.Cover, err)
	}
	f.booted(node, 11, "")
	f.booted(node, 12, "pcr-mismatch")
	if r, err := f.Release("2026.11"); err != nil || r.Bound != 1 || r.Booted != 1 {
		t.Errorf("Release = %+v, %v, want one machine that is bound to it and booted it", r, err)
	}
}

// --release binds one that has booted nothing of it yet, and needs no
// --unmeasured: what it showed will never be served.
func TestApprovalForARelease(t *testing.T) {
	f := newKMS(t)
	f.build("2026.11", 11)
	node := f.enrolls()
	for name, want := range map[string]string{"2026.10": "there is no release", "2026.11": ""} {
		_, err := f.ApproveNode(ctx, lk1.Approval{Who: node.NodeID().Words(), Release: name})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Fatalf("approving for %s = %v, want %q", name, err, want)
		}
		if err == nil {
			break
		}
	}
	f.booted(node, 12, "pcr-mismatch")
	f.booted(node, 11, "")
}

// A retired release boots nothing, whether a machine is bound to it or was
// approved with its values before it was one; explain says so.
func TestRetiredRelease(t *testing.T) {
	f := newKMS(t)
	pinned := f.approved()
	f.build("2026.11", 11)
	f.booted(pinned, 11, "")
	bound := newTPM(t)
	f.approve(bound)
	if r, err := f.RetireRelease(ctx, "2026.11"); err != nil || r.Retired.IsZero() {
		t.Fatalf("RetireRelease = %+v, %v", r, err)
	}
	for _, n := range []*softtpm.TPM{pinned, bound} {
		f.booted(n, 11, "pcr-mismatch")
		e, err := f.Explain(ctx, lk1.Question{Who: n.NodeID().String()})
		if err != nil || !slices.ContainsFunc(e.Rules, func(c policy.Check) bool {
			return c.Rule == policy.RuleBootState && strings.Contains(c.Why, "booted release 2026.11, which was retired on ")
		}) {
			t.Errorf("Explain = %+v, %v, want that 2026.11 was retired", e.Rules, err)
		}
	}
	if _, err := f.RetireRelease(ctx, "2026.11"); err == nil {
		t.Error("a release was retired twice")
	}
	if _, err := f.ApproveNode(ctx, lk1.Approval{Who: newTPM(t).NodeID().String(), NoPCRs: true, Release: "2026.11"}); err == nil {
		t.Error("a machine was bound to a release that is retired")
	}
	if err := f.RemoveRelease(ctx, "2026.11"); err != nil {
		t.Fatal(err)
	}
	f.booted(pinned, 11, "")
}

// What is added must say something, and of PCR 11 something that only that
// image measures.
func TestReleaseRefuses(t *testing.T) {
	f := newKMS(t)
	f.SetPolicy(&policy.Policy{Releases: map[string]policy.Release{"file": {PCRs: map[int]policy.Digest{11: {1}}}}})
	f.build("twice", 1)
	for why, n := range map[string]release.New{
		"is no name":          {Name: "a b", PCRs: map[int]policy.Digest{11: {1}}},
		"that any boot would": {Name: "r"},
		"any initrd would be": {Name: "r", PCRs: map[int]policy.Digest{11: own}},
		"one of kms.yaml":     {Name: "r", PCRs: map[int]policy.Digest{9: {1}}},
		"kms.yaml has one":    {Name: "file", PCRs: map[int]policy.Digest{11: {1}}},
		"there is one of":     {Name: "twice", PCRs: map[int]policy.Digest{11: {1}}},
		"golden or signed":    {Name: "r", PCRs: map[int]policy.Digest{11: {1}}, PublicKey: "x"},
		"PEM":                 {Name: "r", PublicKey: "x", Signatures: "{}"},
	} {
		if _, err := f.AddRelease(ctx, n); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("AddRelease(%+v) = %v, want %q", n, err, why)
		}
	}
	if err := f.RemoveRelease(ctx, "twice"); err == nil {
		t.Error("a release that is in force was removed")
	}
}

// The file's release goes before the ledger's of the same name.
func TestReleaseOfTheFileWins(t *testing.T) {
	f := newKMS(t)
	f.build("r", 11)
	node := f.approved() // bound to r
	f.SetPolicy(&policy.Policy{Releases: map[string]policy.Release{"r": {PCRs: map[int]policy.Digest{11: {12}}}}})
	f.booted(node, 11, "pcr-mismatch")
	f.booted(node, 12, "")
	if r, err := f.Release("r"); err != nil || !r.Hidden {
		t.Errorf("Release = %+v, %v, want that it is hidden", r, err)
	}
}

// The ledger's releases are in a backup as all else: they are there after a
// restart, and in the digest over all rows.
func TestReleasesAreKept(t *testing.T) {
	f := newKMS(t)
	f.build("2026.11", 11)
	node := f.approved()
	f.restart()
	f.booted(node, 11, "")
	f.booted(node, 12, "pcr-mismatch")
	if _, err := f.Check(); err != nil {
		t.Error(err)
	}
}

// askReleases asks those of releases; the node is of site lab.
func askReleases(ask func(method, target, body string, want int), node string) {
	add := func(name string, pcr11 byte) string {
		return fmt.Sprintf(`{"name":%q,"what":"a kernel","pcrs":{"11":"%064x"}}`, name, pcr11)
	}
	ask("POST", "/v1/release/add", add("r1", 11), 200)
	ask("POST", "/v1/release/add", add("r1", 11), 409)
	ask("POST", "/v1/release/add", add("r2", 12), 200)
	digest := strings.Repeat("01", 32)
	ask("POST", "/v1/release/add", fmt.Sprintf(`{"name":"r4","chain":{"loader":"grub","programs":[%[1]q,%[1]q],"initrd":%[1]q,"kernel":%[1]q,"files":[%[1]q],"command_line":"ro"}}`, digest), 200)
	ask("POST", "/v1/release/roll?name=r2", `{"group":"site=lab","canary_percent":5,"failures_percent":10,"within":"1h","retire":"r1"}`, 200)
	ask("POST", "/v1/release/roll?name=r2", `{"group":"lab"}`, 409)
	ask("POST", "/v1/release/stop?name=r2&group=site=lab", "", 200)
	ask("POST", "/v1/release/resume?name=r2&group=site=lab", "", 200)
	ask("POST", "/v1/release/resume?name=r2&group=site=rome", "", 404)
	ask("POST", "/v1/release/stop?name=r2&group=site=lab", "", 200)
	ask("POST", "/v1/release/retire?name=r1", "", 200)
	ask("GET", "/v1/release?name=r2", "", 200)
	ask("GET", "/v1/release?name=r3", "", 404)
	ask("GET", "/v1/releases", "", 200)
	ask("POST", "/v1/release/remove?name=r2", "", 409)
	ask("POST", "/v1/release/remove?name=r1", "", 200)
	ask("GET", "/v1/node"+node, "", 200)
}
