package server_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/server/eventlog/eventlogtest"
	"latchkey/kms/server/lk1"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/release"
	"latchkey/kms/softtpm"
)

// started is a release of what systemd-boot started when it was recorded,
// with this initrd.
func started(name string, initrd policy.Digest) release.New {
	l := eventlogtest.Recorded("sdboot")
	c := &policy.Chain{Loader: policy.LoaderSystemd, Initrd: initrd, CommandLine: l.CommandLine}
	for _, p := range l.Summary().Programs {
		c.Programs = append(c.Programs, p.SHA256)
	}
	return release.New{Name: name, Chain: c, What: "systemd-boot"}
}

// newInitrd is the recorded boot with another initrd.
func newInitrd(d policy.Digest) *eventlogtest.Log {
	l := eventlogtest.Recorded("sdboot")
	i := l.Find(9, 6, func(e eventlogtest.Event) bool { return strings.Contains(string(e.Data), "Linux initrd") })
	l.Events[i].Digest = d
	return l
}

// A machine whose kernel systemd-boot starts is bound to the release that it
// shows when it is approved, and needs no --unmeasured; the next release's
// first boot is refused, shown, judged and served in one call; an initrd of no
// release is refused, and so is a retired one.
func TestReleaseOfABootLoader(t *testing.T) {
	f := newKMS(t)
	if err := f.PutVolume(ctx, root, secret.Own([]byte(canary))); err != nil {
		t.Fatal(err)
	}
	if _, err := f.AddRelease(ctx, started("old", eventlogtest.FileDigest("sdboot", "initrd"))); err != nil {
		t.Fatal(err)
	}
	tpm := newTPM(t)
	old := func() *softtpm.Booted { return boot(tpm, eventlogtest.Recorded("sdboot")) }
	if _, err := f.get(old()); code(err) != "pending" {
		t.Fatalf("Get before approval = %v, want code pending", err)
	}
	if _, err := f.ApproveNode(ctx, lk1.Approval{Who: tpm.NodeID().Words(), Volumes: []kms.UUID{root}}); err != nil {
		t.Fatal(err)
	}
	if n := f.node(tpm); !slices.Equal(n.Settings.Releases, []string{"old"}) || n.Cover.Kind != policy.CoverFiles {
		t.Errorf("the machine is bound to %v and covered by %+v", n.Settings.Releases, n.Cover)
	}
	f.mustGet(old())

	if _, err := f.AddRelease(ctx, started("new", policy.Digest{0x22})); err != nil {
		t.Fatal(err)
	}
	if _, err := f.get(boot(tpm, newInitrd(policy.Digest{0x22}))); code(err) != "pcr-mismatch" {
		t.Errorf("Get with another release's initrd = %v, want code pcr-mismatch", err)
	}
	if _, err := f.SetNode(ctx, tpm.NodeID().String(), policy.Change{Labels: map[string]string{"site": "lab"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.RollRelease(ctx, "new", release.Options{Group: "site=lab", Canary: 100, Within: policy.Duration(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	f.mustGet(boot(tpm, newInitrd(policy.Digest{0x22})))
	if _, err := f.get(boot(tpm, newInitrd(policy.Digest{0xe7}))); code(err) != "pcr-mismatch" {
		t.Errorf("Get with an initrd of no release = %v, want code pcr-mismatch", err)
	}

	f.restart() // which PCRs are asked for is known again before anybody asks
	f.mustGet(old())
	if _, err := f.RetireRelease(ctx, "old"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.get(old()); code(err) != "pcr-mismatch" {
		t.Errorf("Get with a retired release = %v, want code pcr-mismatch", err)
	}
	x, err := f.Explain(ctx, lk1.Question{Who: tpm.NodeID().String()})
	if why := checkOf(x, policy.RuleBootState).Why; err != nil || !strings.Contains(why, "booted release old, which was retired on") {
		t.Errorf("Explain = %q, %v", why, err)
	}
}

// The PCRs that only a boot loader's release needs are not asked for before
// there is one.
func TestBootLoadersPCRs(t *testing.T) {
	f := newKMS(t)
	tpm := newTPM(t)
	boot(tpm, eventlogtest.Recorded("sdboot"))
	shown := func() string {
		f.mustPend(tpm)
		var pcrs []int
		for pcr := range f.node(tpm).Shown.PCRs {
			pcrs = append(pcrs, pcr)
		}
		slices.Sort(pcrs)
		return fmt.Sprint(pcrs)
	}
	if got := shown(); got != "[7 11 12 15]" {
		t.Errorf("before: PCRs %s", got)
	}
	if _, err := f.AddRelease(ctx, started("r", policy.Digest{1})); err != nil {
		t.Fatal(err)
	}
	if got := shown(); got != "[2 4 7 8 9 11 12 15]" {
		t.Errorf("with a release of a boot loader: PCRs %s", got)
	}
}

// A boot loader's release says all of its boot, and nothing of a UKI.
func TestReleaseOfABootLoaderRefuses(t *testing.T) {
	f := newKMS(t)
	for why, change := range map[string]func(*release.New){
		"either a UKI or": func(n *release.New) { n.PCRs = map[int]policy.Digest{11: {1}} },
		"which say PCRs":  func(n *release.New) { n.PCRs = map[int]policy.Digest{12: {1}} },
		"a kernel with":   func(n *release.New) { n.Signatures, n.PublicKey = "{}", "x" },
		"what is read":    func(n *release.New) { n.Chain.Initrd = policy.Digest{} },
	} {
		n := started("r", policy.Digest{1})
		change(&n)
		if _, err := f.AddRelease(ctx, n); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("AddRelease = %v, want %q", err, why)
		}
	}
}
