package server_test

import (
	"slices"
	"strings"
	"testing"

	"latchkey/internal/pcr"
	"latchkey/kms"
	"latchkey/kms/ledger"
	"latchkey/kms/server/fleet"
	"latchkey/kms/server/lk1"
	"latchkey/kms/server/policy"
	"latchkey/kms/softtpm"
)

// own is a PCR 11 that only the init has extended: nothing measured kernel
// and initrd.
var own = pcr.Phases(pcr.EnterInitrd)

// TestApprovalOfWhatIsMeasured: what an operator has to say before a machine
// is approved, and is told. faults/node.md H1, faults/field.md P15.
func TestApprovalOfWhatIsMeasured(t *testing.T) {
	for _, row := range []struct {
		name    string
		pcrs    map[int][32]byte
		setting policy.Unmeasured
		said    bool
		refused string
		kind    string
		warns   string
	}{
		{"a UKI", map[int][32]byte{7: {7}, 11: {11}}, "", false, "", policy.CoverUKI, ""},
		{"a UKI, and it is said all the same", map[int][32]byte{7: {7}, 11: {11}}, "", true, "", policy.CoverUKI, ""},
		{"a plain loader", map[int][32]byte{7: {7}, 11: own}, "", false, "say --unmeasured", "", ""},
		{"a plain loader, asked as the default", map[int][32]byte{7: {7}, 11: own}, policy.UnmeasuredAsk, false, "only latchkey's own measurement", "", ""},
		{"a plain loader, and it is said", map[int][32]byte{7: {7}, 11: own}, "", true, "", policy.CoverUnmeasured, ""},
		{"a plain loader that the policy allows", map[int][32]byte{7: {7}, 11: own}, policy.UnmeasuredAllow, false, "", policy.CoverUnmeasured, ""},
		{"a plain loader that the policy refuses", map[int][32]byte{7: {7}, 11: own}, policy.UnmeasuredRefuse, true, "its setting unmeasured is refuse", "", ""},
		{"a UKI where the policy refuses others", map[int][32]byte{7: {7}, 11: {11}}, policy.UnmeasuredRefuse, false, "", policy.CoverUKI, ""},
		{"a bank that nobody extends", map[int][32]byte{}, "", false, "PCR 11 is all zero", "", ""},
		{"a bank that nobody extends, and it is said", map[int][32]byte{}, "", true, "", policy.CoverUnmeasured, "PCR 7 and 11 is all zero"},
		{"a UKI on a firmware that measures no keys", map[int][32]byte{11: {11}}, "", false, "", policy.CoverUKI, "PCR 7 is all zero"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			f := newKMS(t)
			f.SetPolicy(&policy.Policy{Defaults: policy.Settings{Unmeasured: row.setting}})
			node := newTPM(t)
			node.PCRs = row.pcrs
			f.mustPend(node)
			out, err := f.ApproveNode(ctx, lk1.Approval{Who: node.NodeID().Words(), Unmeasured: row.said})
			if row.refused != "" {
				if err == nil || !strings.Contains(err.Error(), row.refused) {
					t.Fatalf("approving = %v, want refused with %q", err, row.refused)
				}
				f.mustPend(node)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if out.Node.Cover.Kind != row.kind || !strings.Contains(out.Warning, row.warns) || row.warns == "" && out.Warning != "" {
				t.Errorf("approved as %+v with warning %q, want %s and %q", out.Node.Cover, out.Warning, row.kind, row.warns)
			}
			if _, err := f.get(node); err != nil {
				t.Errorf("Get after approval = %v", err)
			}
		})
	}
}

// A release that covers PCR 11 needs nothing said: what the machine booted
// before will never be served.
func TestApprovalUnderARelease(t *testing.T) {
	f := newKMS(t)
	f.SetPolicy(&policy.Policy{
		Defaults: policy.Settings{Releases: []string{"r"}},
		Releases: map[string]policy.Release{"r": {PCRs: map[int]policy.Digest{11: {11}}}},
	})
	node := newTPM(t)
	node.PCRs[11] = own
	f.mustPend(node)
	if _, err := f.ApproveNode(ctx, lk1.Approval{Who: node.NodeID().Words()}); err != nil {
		t.Fatal(err)
	}
	f.mustRefuse(node, "pcr-mismatch", policy.RuleBootState)
	node.PCRs[11] = [32]byte{11}
	if _, err := f.get(node); err != nil {
		t.Errorf("Get with the release = %v", err)
	}
}

// From a UKI back to a plain loader is what an intruder does, so accepting it
// wants it said, once.
func TestAcceptOfABootThatNothingMeasures(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	who := node.NodeID().Words()
	node.PCRs[11] = own
	f.mustRefuse(node, "pcr-mismatch", policy.RuleBootState)
	if _, err := f.AcceptNode(ctx, who, lk1.Acceptance{}); err == nil || !strings.Contains(err.Error(), "say --unmeasured") {
		t.Errorf("accepting = %v, want refused", err)
	}
	f.mustRefuse(node, "pcr-mismatch", policy.RuleBootState)
	if n, err := f.AcceptNode(ctx, who, lk1.Acceptance{Unmeasured: true}); err != nil || !n.Unmeasured {
		t.Fatalf("accepting = %+v, %v", n, err)
	}
	f.mustGet(node)

	node.PCRs[7] = [32]byte{77}
	f.mustRefuse(node, "pcr-mismatch", policy.RuleBootState)
	if _, err := f.AcceptNode(ctx, who, lk1.Acceptance{}); err != nil {
		t.Errorf("accepting again = %v: it was said already", err)
	}

	node.PCRs[11] = [32]byte{11}
	f.mustRefuse(node, "pcr-mismatch", policy.RuleBootState)
	if n, err := f.AcceptNode(ctx, who, lk1.Acceptance{}); err != nil || n.Unmeasured {
		t.Errorf("accepting a UKI = %+v, %v, want that it is measured from now on", n, err)
	}
}

// enrolls is a machine whose own system asked, as latchkey volume enroll
// does.
func (f *fixture) enrolls() *softtpm.TPM {
	f.t.Helper()
	node := newTPM(f.t)
	node.PCRs[11], node.PCRs[15] = [32]byte{}, [32]byte{1}
	offer := kms.Offer{UUID: root, MAC: make([]byte, 32)}
	if _, err := f.client().Deposit(ctx, f.url, node, kms.Enroll, wants(root), []kms.Offer{offer}); code(err) != "pending" {
		f.t.Fatalf("enroll = %v, want code pending", err)
	}
	return node
}

// boots is the node in its next boot.
func boots(node *softtpm.TPM, pcr11 [32]byte) {
	node.Reset++
	node.PCRs[11], node.PCRs[15] = pcr11, [32]byte{}
}

// What a running system measured is not a boot state: its first boot waits
// for the operator, who sees what it is.
func TestFirstBootWaits(t *testing.T) {
	f := newKMS(t)
	node := f.enrolls()
	who := node.NodeID().Words()
	out, err := f.ApproveNode(ctx, lk1.Approval{Who: who})
	if err != nil || !slices.Equal(out.Pinned, []int{7, 12}) || !strings.Contains(out.Warning, "node accept") || out.Node.Cover.Kind != policy.CoverFirstBoot {
		t.Fatalf("approval pinned %v as %+v with warning %q (%v), want 7, 12 and a warning", out.Pinned, out.Node.Cover, out.Warning, err)
	}

	boots(node, [32]byte{11})
	f.mustRefuse(node, "pcr-mismatch", policy.RuleBootState)
	if n, err := f.AcceptNode(ctx, who, lk1.Acceptance{}); err != nil || n.Cover.Kind != policy.CoverUKI {
		t.Fatalf("accepting = %+v, %v", n.Cover, err)
	}
	if _, err := f.get(node); err != nil {
		t.Errorf("Get = %v", err)
	}
	boots(node, [32]byte{12})
	f.mustRefuse(node, "pcr-mismatch", policy.RuleBootState)
}

// With --unmeasured, or where the policy allows it, nobody has to be there at
// its first boot, and that boot is pinned.
func TestFirstBootIsTaken(t *testing.T) {
	for _, row := range []struct {
		name    string
		said    bool
		setting policy.Unmeasured
		pcr11   [32]byte
		kind    string
	}{
		{"said, a plain loader", true, "", own, policy.CoverUnmeasured},
		{"said, and then it is a UKI", true, "", [32]byte{11}, policy.CoverUKI},
		{"allowed", false, policy.UnmeasuredAllow, own, policy.CoverUnmeasured},
	} {
		f := newKMS(t)
		f.SetPolicy(&policy.Policy{Defaults: policy.Settings{Unmeasured: row.setting}})
		node := f.enrolls()
		if _, err := f.ApproveNode(ctx, lk1.Approval{Who: node.NodeID().Words(), Unmeasured: row.said}); err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		boots(node, row.pcr11)
		if _, err := f.get(node); err != nil {
			t.Fatalf("%s: Get = %v", row.name, err)
		}
		n, err := f.Node(node.NodeID().String())
		if err != nil || n.Cover.Kind != row.kind || n.Unmeasured && row.kind == policy.CoverUKI {
			t.Errorf("%s: after the first boot %+v, %v, want %s", row.name, n.Cover, err, row.kind)
		}
		if !slices.ContainsFunc(f.log(), func(e ledger.Event) bool { return e.Event == "first-boot" && strings.Contains(e.Detail, "[11]") }) {
			t.Errorf("%s: the log does not say that PCR 11 was pinned", row.name)
		}
		boots(node, [32]byte{12})
		f.mustRefuse(node, "pcr-mismatch", policy.RuleBootState)
	}
}

// Trust at first sight trusts a boot that nothing measures, too, unless the
// policy refuses those.
func TestTofuOfWhatNothingMeasures(t *testing.T) {
	for _, row := range []struct {
		setting policy.Unmeasured
		pcr11   [32]byte
		want    string
	}{
		{"", own, ""},
		{policy.UnmeasuredRefuse, own, "pending"},
		{policy.UnmeasuredRefuse, [32]byte{11}, ""},
	} {
		f := newKMS(t, func(f *fixture) { f.enroll = fleet.Tofu })
		f.SetPolicy(&policy.Policy{Defaults: policy.Settings{Unmeasured: row.setting}})
		node := newTPM(t)
		node.PCRs[11] = row.pcr11
		if _, err := f.get(node); code(err) != row.want {
			t.Errorf("unmeasured %q, PCR 11 %x: Get = %v, want code %q", row.setting, row.pcr11[:2], err, row.want)
		}
	}
}
