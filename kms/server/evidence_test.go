package server_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/server/eventlog/eventlogtest"
	"latchkey/kms/server/lk1"
	"latchkey/kms/server/policy"
	"latchkey/kms/softtpm"
)

// boot makes a machine boot what a log says.
func boot(tpm *softtpm.TPM, l *eventlogtest.Log) *softtpm.Booted {
	tpm.PCRs = map[int][32]byte{}
	for pcr, value := range l.PCRs("enter-initrd") {
		tpm.PCRs[pcr] = value
	}
	return &softtpm.Booted{TPM: tpm, Log: kms.BootLog{Log: l.Encode(), CommandLine: l.CommandLine, Kernel: l.Kernel}}
}

// owner is an approved machine that booted what was recorded.
func (f *fixture) owner(name string) *softtpm.TPM {
	f.t.Helper()
	if err := f.PutVolume(ctx, root, secret.Own([]byte(canary))); err != nil {
		f.t.Fatal(err)
	}
	tpm := newTPM(f.t)
	if _, err := f.get(boot(tpm, eventlogtest.Recorded(name))); code(err) != "pending" {
		f.t.Fatalf("Get before approval = %v, want code pending", err)
	}
	if _, err := f.ApproveNode(ctx, lk1.Approval{Who: tpm.NodeID().Words(), Unmeasured: true, Volumes: []kms.UUID{root}}); err != nil {
		f.t.Fatal(err)
	}
	return tpm
}

func (f *fixture) node(tpm *softtpm.TPM) lk1.Node {
	f.t.Helper()
	n, err := f.Node(tpm.NodeID().String())
	if err != nil {
		f.t.Fatal(err)
	}
	return n
}

// audited tells whether an event of the audit log says so.
func (f *fixture) audited(event, detail string) (found bool) {
	f.t.Helper()
	for _, e := range f.log() {
		found = found || e.Event == event && strings.Contains(e.Detail, detail)
	}
	return found
}

// A machine that waits shows what it booted, once; a known one is never
// asked; another boot is refused, shown, and said in words to both sides.
func TestEvidence(t *testing.T) {
	f := newKMS(t)
	tpm := f.owner("secure")
	n := f.node(tpm)
	if n.BootLog == nil || n.BootLog.Summary == nil || n.BootLog.Summary.SecureBoot != "on" || n.ApprovedBoot == nil {
		t.Fatalf("the record has boot log %+v, approved %+v", n.BootLog, n.ApprovedBoot)
	}
	if n.Says != "" {
		t.Errorf("of the approved boot it says %q", n.Says)
	}
	known := boot(tpm, eventlogtest.Recorded("secure"))
	f.mustGet(known)
	f.mustGet(known)
	if known.Shown != 0 {
		t.Errorf("a known machine was asked for its log %d times", known.Shown)
	}

	l := eventlogtest.Recorded("secure")
	l.SetVariable("db", append(l.Variable("db"), eventlogtest.List(eventlogtest.Certificate("Foreign"))...))
	l.SetSection(".cmdline", []byte("root=/dev/mapper/root init=/bin/sh"))
	l.CommandLine = "root=/dev/mapper/root init=/bin/sh"
	evil := boot(tpm, l)
	_, err := f.get(evil)
	for _, words := range []string{"PCR 7: db gained 'Foreign'", "PCR 11: section .cmdline changed, command line has init=/bin/sh"} {
		if code(err) != "pcr-mismatch" || !strings.Contains(err.Error(), words) {
			t.Errorf("Get = %v, want pcr-mismatch and %q", err, words)
		}
		if n := f.node(tpm); !strings.Contains(n.Says, words) {
			t.Errorf("the operator reads %q, want %q", n.Says, words)
		}
		x, err := f.Explain(ctx, lk1.Question{Who: tpm.NodeID().String()})
		if err != nil || !strings.Contains(checkOf(x, policy.RuleBootState).Why, words) {
			t.Errorf("Explain = %q, %v, want %q", checkOf(x, policy.RuleBootState).Why, err, words)
		}
		if !f.audited("boot-log", words) {
			t.Errorf("no audit line boot-log says %q", words)
		}
	}
	f.get(evil)
	if evil.Shown != 1 {
		t.Errorf("one boot was asked for its log %d times", evil.Shown)
	}
	known = boot(tpm, eventlogtest.Recorded("secure"))
	f.mustGet(known) // the approved boot is known still
	if known.Shown != 0 {
		t.Errorf("the approved boot was asked for its log")
	}

	evil = boot(tpm, l)
	f.get(evil)
	if _, err := f.AcceptNode(ctx, tpm.NodeID().String(), lk1.Acceptance{Seen: f.node(tpm).Seen}); err != nil {
		t.Fatal(err)
	}
	f.mustGet(evil)
	if n := f.node(tpm); n.Says != "" || n.ApprovedBoot == nil || !n.ApprovedBoot.Summary.DB.Has(n.BootLog.Summary.DB.Certificates[1].SHA256) {
		t.Errorf("after node accept the approved boot is %+v, and it says %q", n.ApprovedBoot, n.Says)
	}
}

func checkOf(x lk1.Explanation, r policy.Rule) policy.Check {
	for _, c := range x.Rules {
		if c.Rule == r {
			return c
		}
	}
	return policy.Check{}
}

// An init that knows no ask is served and refused as before.
func TestEvidenceOfOldInits(t *testing.T) {
	f := newKMS(t)
	old := f.approved()
	f.mustGet(old)
	old.PCRs[7] = [32]byte{1}
	if _, err := f.get(old); code(err) != "pcr-mismatch" {
		t.Errorf("Get = %v, want pcr-mismatch", err)
	}
}

// A machine that was approved before anything was known of its boots shows
// it with its next one, and is served whether it can or not.
func TestEvidenceOfOldApprovals(t *testing.T) {
	f := newKMS(t)
	if err := f.PutVolume(ctx, root, secret.Own([]byte(canary))); err != nil {
		t.Fatal(err)
	}
	tpm := newTPM(t)
	now := boot(tpm, eventlogtest.Recorded("plain"))
	f.approve(tpm, root) // an old init asked
	now.Fails = errors.New("no log")
	g, err := f.get(now)
	if err != nil || g.Untold == nil {
		t.Fatalf("Get = %v, %v, want a grant that says that the log was not shown", g, err)
	}
	now.Fails = nil
	f.mustGet(now)
	if n := f.node(tpm); n.ApprovedBoot == nil || n.ApprovedBoot.Summary.SecureBoot != "off" {
		t.Errorf("the approved boot is %+v", n.ApprovedBoot)
	}
	f.mustGet(now)
	if now.Shown != 2 {
		t.Errorf("it was asked %d times, want 2", now.Shown)
	}
}

// A release by content: the new boot is refused, shown, judged and served in
// one call; and once judged, it is not asked for again.
func TestEvidenceForContent(t *testing.T) {
	f := newKMS(t)
	tpm := f.owner("grub")
	on := true
	p, err := policy.Config{
		Defaults: policy.Settings{Releases: []string{"fleet"}},
		Releases: []policy.ReleaseConfig{{Name: "fleet", Content: &policy.ContentConfig{
			SecureBoot: &on, DB: []string{"microsoft-uefi-2011", "microsoft-windows-2011", "microsoft-uefi-2023"}, CommandLine: []string{"console=ttyS0 panic=-1 root=/dev/mapper/root ro"},
		}}},
	}.Policy(os.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	f.SetPolicy(p)
	l := eventlogtest.Recorded("grub")
	l.SetVariable("dbx", append(l.Variable("dbx"), eventlogtest.List(make([]byte, 32))...))
	updated := boot(tpm, l)
	f.mustGet(updated)
	f.mustGet(updated)
	if updated.Shown != 1 {
		t.Errorf("the updated machine was asked %d times, want 1", updated.Shown)
	}
	l.SetVariable("db", append(l.Variable("db"), eventlogtest.List(eventlogtest.Certificate("Foreign"))...))
	if _, err := f.get(boot(tpm, l)); code(err) != "pcr-mismatch" || !strings.Contains(err.Error(), "db gained 'Foreign'") {
		t.Errorf("Get with another db = %v", err)
	}
	// What another GRUB command line would be is not in PCRs 7, 11 and 12.
	l = eventlogtest.Recorded("grub")
	l.Insert(len(l.Events), eventlogtest.Event{PCR: 8, Type: eventlogtest.IPL, Digest: [32]byte{8}})
	tpm.PCRs[8] = l.PCRs()[8]
	if _, err := f.get(tpm); code(err) != "pcr-mismatch" {
		t.Errorf("Get with another PCR 8, from an init that shows no log = %v", err)
	}
}
