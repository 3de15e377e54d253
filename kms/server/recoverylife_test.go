package server_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/kms"
	"latchkey/kms/admin"
	"latchkey/kms/server/lk1"
	"latchkey/kms/server/policy"
	"latchkey/kms/softtpm"
)

// Looking after recovery keys is no boot: what the operator looks at stays,
// and a machine may do it only so often.
func TestRecoveryIsNoBoot(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	f.mustGet(node)
	before, err := f.Node(node.NodeID().String())
	if err != nil {
		t.Fatal(err)
	}
	f.leaves(node, "first")
	after, err := f.Node(node.NodeID().String())
	if err != nil || after.Seen != before.Seen || after.LastStatus != before.LastStatus || !after.Last.Equal(before.Last) {
		t.Errorf("it is shown as %+v, %v; want %+v", after, err, before)
	}
	node.PCRs[7] = [32]byte{0xee}
	if _, err := f.saysOf(node, kms.RecoveryWord{UUID: root}); code(err) != "pcr-mismatch" {
		t.Errorf("from a boot that nobody approved: %v", err)
	}
	node.PCRs[7] = [32]byte{7}
	f.SetPolicy(&policy.Policy{Defaults: policy.Settings{StoresPerHour: ptr(2)}})
	f.looks(node)
	if _, err := f.saysOf(node, kms.RecoveryWord{UUID: root}); code(err) != "too-often" {
		t.Errorf("after two words within the hour: %v, want too-often", err)
	}
}

// The owner's recipients reach the machine; a key for others is told.
func TestRecoveryRecipients(t *testing.T) {
	f := newKMS(t)
	node := f.approved()
	f.SetRecipients([]string{"age1one", "age1two"})
	reply, err := f.client().Recovery(ctx, f.url, node, wants(root), []kms.RecoveryWord{{UUID: root}})
	if err != nil || fmt.Sprint(reply.Recipients) != "[age1one age1two]" {
		t.Fatalf("recipients are %v, %v", reply, err)
	}
	f.says(node, kms.RecoveryWord{Sealed: sealedKey("first"), Escrows: []kms.Escrow{slot("first", "")}, To: kms.RecipientsDigest(reply.Recipients)})
	if r := f.stands(lk1.RecoveryUnproven); r.Others {
		t.Error("it is sealed to the recipients, and said not to be")
	}
	f.SetRecipients([]string{"age1three"})
	if r := f.stands(lk1.RecoveryUnproven); !r.Others {
		t.Error("the recipients changed, and nobody is told")
	}
}

// A volume takes its recovery key along to a machine with a new mainboard,
// whose boot proves it; when the volume is destroyed, so is the key.
func TestRecoveryGoesWithItsVolume(t *testing.T) {
	f := newKMS(t)
	old, node := f.approved(), newTPM(t)
	f.leaves(old, "first")
	if _, err := f.get(node); code(err) != "pending" {
		t.Fatal(err)
	}
	if _, err := f.ApproveNode(ctx, lk1.Approval{Who: node.NodeID().Words(), Volumes: []kms.UUID{root}, Move: true, Secrets: lk1.SecretsKeep}); err != nil {
		t.Fatal(err)
	}
	if s := f.looks(old, slot("first", "first")); s.Status != kms.NotBound {
		t.Errorf("the machine that had it is told %+v", s)
	}
	if s := f.looks(node, slot("first", "first")); !s.Proven {
		t.Errorf("the machine that has it is told %+v", s)
	}
	if r := f.stands(lk1.RecoveryProven); r.ProvenBy != node.NodeID().Words() {
		t.Errorf("it is proven by %q", r.ProvenBy)
	}
	if all, err := f.Recoveries(); err != nil || len(all) != 1 {
		t.Errorf("Recoveries = %+v, %v; want one", all, err)
	}
	if err := f.DeleteVolume(ctx, root, true); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReleaseRecovery(ctx, root, lk1.Handing{Reason: "a drill"}); err == nil {
		t.Error("the key of a volume that was destroyed is handed out")
	}
	if _, err := f.Check(); err != nil {
		t.Error(err)
	}
}

// The words of one minute are heard, later ones are not.
func TestRecoveryCookieIsGoodForAMinute(t *testing.T) {
	for wait, heard := range map[time.Duration]bool{0: true, 59 * time.Second: true, time.Minute: false} {
		synctest.Test(t, func(t *testing.T) {
			f := newKMS(t, inMemory)
			node := f.approved()
			client := f.client()
			client.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				c, err := f.pipe.dial(ctx, network, address)
				return slowToClose{c, wait}, err
			}
			_, err := client.Recovery(ctx, f.url, node, wants(root), []kms.RecoveryWord{{UUID: root}})
			if (err == nil) != heard {
				t.Errorf("after %s: %v", wait, err)
			}
		})
	}
}

// A slowToClose is a connection whose end takes a while: the first one's is
// between the proof and the word.
type slowToClose struct {
	net.Conn
	wait time.Duration
}

func (c slowToClose) Close() error {
	err := c.Conn.Close()
	time.Sleep(c.wait)
	return err
}

// Over HTTPS who may only look or approve is handed nothing.
func TestRecoveryReleaseNeedsAdmin(t *testing.T) {
	l := newRemote(t)
	l.leaves(l.approved(), "first")
	target := "/v1/recovery/release?uuid=" + root.String()
	for scope, want := range map[admin.Scope]int{admin.ScopeRead: http.StatusForbidden, admin.ScopeApprove: http.StatusForbidden, admin.ScopeAdmin: http.StatusOK} {
		var out lk1.Handed
		if got := l.sent(target, l.token("a-"+string(scope), scope), `{"reason":"a drill"}`, &out); got != want || (out.Sealed != nil) != (want == http.StatusOK) {
			t.Errorf("scope %s: status %d, want %d", scope, got, want)
		}
	}
}

// tellRecovery: a key that was proven and handed out, whose keyslot is gone,
// and one that is to take its place.
func tellRecovery(f *fixture, node *softtpm.TPM) {
	f.t.Helper()
	f.leaves(node, "first")
	node.Reset++
	f.looks(node, slot("first", "first"))
	f.looks(node)
	if _, err := f.ReleaseRecovery(ctx, root, lk1.Handing{Reason: "a drill"}); err != nil {
		f.t.Fatal(err)
	}
	f.leaves(node, "second")
}

// askRecovery asks about the recovery keys of tellRecovery.
func askRecovery(ask func(method, target, body string, want int), uuid string) {
	ask("GET", "/v1/recoveries", "", 200)
	ask("GET", "/v1/recovery"+uuid, "", 200)
	ask("GET", "/v1/recovery?uuid="+kms.UUID{9}.String(), "", 404)
	ask("POST", "/v1/recovery/release"+uuid, `{"reason":"a drill"}`, 200)
	ask("POST", "/v1/recovery/release"+uuid, `{"reason":"a drill"}`, 409)
	ask("POST", "/v1/recovery/release"+uuid, `{"reason":""}`, 409)
	ask("POST", "/v1/recovery/release"+uuid, `{"reason":"a drill","again":true}`, 200)
}

// A machine of a site leaves its recovery key with the center, while that
// answers; the site's server keeps none.
func TestSiteRecovery(t *testing.T) {
	inSite(t, func(t *testing.T, l *siteLab) {
		node := l.machine(root, ofBerlin)
		word := []kms.RecoveryWord{{UUID: root, Sealed: sealedKey("first"), Escrows: []kms.Escrow{slot("first", "first")}}}
		leave := func() error {
			client := &kms.Client{Pins: l.Pins(), Dial: l.site.pipe.dial}
			_, err := client.Recovery(ctx, l.site.url, node, wants(root), word)
			return err
		}
		if err := leave(); err != nil {
			t.Fatal(err)
		}
		l.stands(lk1.RecoveryUnproven)
		if all, err := l.site.Recoveries(); err != nil || len(all) > 0 && all[0].Standing != lk1.RecoveryNone {
			t.Errorf("the site's server has %+v, %v", all, err)
		}
		l.cut()
		if err := leave(); err == nil {
			t.Error("a recovery key was left while the center did not answer")
		}
	})
}
