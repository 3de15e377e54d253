package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	bootreport "latchkey/boot/report"
	"latchkey/internal/plan"
	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
	"latchkey/unlock/luks2/luks2test"
)

const syncSize = 4 << 20

// syncKey is one of several keys of 256 bits.
func syncKey(n int) secret.Bytes { return secret.Own([]byte(strings.Repeat(string(rune('a'+n)), 32))) }

// owned makes a volume with a keyslot of each owner: 0 a person's, 1 the key
// server's, 2 systemd's, 3 a recovery key's, 4 a stranger's, 5 clevis'.
func owned(t *testing.T, state string) (luks2test.Disk, *luks2.Header) {
	t.Helper()
	d := make(luks2test.Disk, syncSize)
	h, volume, err := luks2.Format(d, luks2.NewVolume{SizeBytes: syncSize, OffsetBytes: 3 << 20}, luks2.NewKey{Passphrase: syncKey(0), Random: true})
	if err != nil {
		t.Fatal(err)
	}
	for i, kind := range []string{"", "systemd-tpm2", recoveryType, "somebody's", "clevis"} {
		key := luks2.NewKey{Passphrase: syncKey(i + 1), Slot: i + 1, Random: true, Token: func(slot int) json.RawMessage {
			if kind == "" {
				return unlock.Mark{Slot: slot, State: state, Replaces: -1, Node: kms.NodeID{1}}.JSON()
			}
			return fmt.Appendf(nil, `{"type":%q,"keyslots":["%d"]}`, kind, slot)
		}}
		if h, _, err = h.AddKey(d, volume, key); err != nil {
			t.Fatal(err)
		}
	}
	return d, h
}

// syncOf is a syncing in a boot by a keyslot.
func syncOf(d luks2.Storage, h *luks2.Header, opened int) *syncing {
	v := plan.Volume{UUID: h.UUID(), Name: "root", Sources: []string{"kms", "prompt"}}
	return &syncing{disk: d, sizeBytes: syncSize, plan: &plan.Plan{Volumes: []plan.Volume{v}}, volume: v, boot: bootreport.Report{
		Plan:    "open " + h.UUID() + " as root by kms then prompt; find http://kms",
		Volumes: []bootreport.Volume{{Name: "root", UUID: h.UUID(), Keyslot: opened}},
	}}
}

// What a source that the plan does not list has left goes, in a boot by this
// plan; nothing else does, whatever it is.
func TestSyncDrop(t *testing.T) {
	for _, tt := range []struct {
		name   string
		state  string // of the mark
		opened int
		change func(s *syncing)
		want   []int // removed
		left   string
	}{
		{"two sources went", unlock.MarkEnrolled, 1, func(*syncing) {}, []int{2, 5}, ""},
		{"what opened it stays", unlock.MarkEnrolled, 2, func(*syncing) {}, []int{5}, ""},
		{"the key server's goes, too", unlock.MarkEnrolled, 0, func(s *syncing) {
			s.volume.Sources = []string{"prompt"}
			s.boot.Plan = "open " + s.volume.UUID + " as root by prompt; find "
		}, []int{1, 2, 5}, ""},
		{"another plan was booted", unlock.MarkEnrolled, 1, func(s *syncing) { s.boot.Plan = "open " + s.volume.UUID + " as root by kms; find " }, nil, "this boot had another plan"},
		{"the plan of another volume", unlock.MarkEnrolled, 1, func(s *syncing) { s.boot.Plan = "open other as root by kms then prompt" }, nil, "this boot had another plan"},
		{"no boot of latchkey", unlock.MarkEnrolled, 1, func(s *syncing) { s.boot = bootreport.Report{} }, nil, "this boot had another plan"},
		{"it stayed closed", unlock.MarkEnrolled, 1, func(s *syncing) { s.boot.Volumes[0].Code = "left-closed" }, nil, "this boot has not opened the volume"},
		{"a rotation has not ended", unlock.MarkRotating, 1, func(*syncing) {}, nil, "has not ended"},
		{"an enrollment has not ended", unlock.MarkEnrolling, 1, func(*syncing) {}, nil, "has not ended"},
	} {
		d, h := owned(t, tt.state)
		s := syncOf(d, h, tt.opened)
		tt.change(s)
		var out synced
		if err := s.drop(&out); err != nil {
			t.Fatal(err)
		}
		after, err := luks2.Read(d, syncSize)
		if err != nil {
			t.Fatal(err)
		}
		want := slices.DeleteFunc([]int{0, 1, 2, 3, 4, 5}, func(id int) bool { return slices.Contains(tt.want, id) })
		if diff := cmp.Diff(want, slotIDs(after)); diff != "" || !slices.Equal(out.Removed, tt.want) || len(after.Tokens()) != len(want)-1 {
			t.Errorf("%s: removed %v, %d tokens are left (-want +got):\n%s", tt.name, out.Removed, len(after.Tokens()), diff)
		}
		if text := strings.Join(out.Left, ""); !strings.Contains(text, tt.left) || (tt.left == "") != (text == "") {
			t.Errorf("%s: left is %q, want %q in it", tt.name, text, tt.left)
		}

		d, h = owned(t, tt.state)
		d[16<<10+100] ^= 1 // a copy that a change would mend
		before := slices.Clone(d)
		s = syncOf(d, h, tt.opened)
		tt.change(s)
		s.try = true
		if err := s.drop(&out); err != nil || !slices.Equal(d, before) {
			t.Errorf("%s: a dry run wrote something, %v", tt.name, err)
		}
	}
}

// F21: the power is cut before any write: the keyslot that opened the volume
// stays whole, and the next run ends it.
func TestSyncPowerCut(t *testing.T) {
	base, h := owned(t, unlock.MarkEnrolled)
	rec := &luks2test.Recorder{Disk: slices.Clone(base)}
	var out synced
	if err := syncOf(rec, h, 1).drop(&out); err != nil {
		t.Fatal(err)
	}
	rec.Cuts(base, func(cut string, d luks2test.Disk) {
		opens := func() {
			h, err := luks2.Read(d, syncSize)
			if err != nil {
				t.Fatalf("cut at %s: %v", cut, err)
			}
			v, _, err := h.Unlock(t.Context(), d, luks2.Attempt{Passphrase: syncKey(1), Slot: 1})
			if err != nil {
				t.Fatalf("cut at %s: %v", cut, err)
			}
			v.Wipe()
		}
		opens()
		if err := syncOf(d, h, 1).drop(&synced{}); err != nil {
			t.Fatalf("cut at %s: again: %v", cut, err)
		}
		opens()
		after, err := luks2.Read(d, syncSize)
		if err != nil || !slices.Equal(slotIDs(after), []int{0, 1, 3, 4}) {
			t.Fatalf("cut at %s: again: %v, keyslots %v", cut, err, slotIDs(after))
		}
	})
}

// A key file of the image gets a keyslot if there is a key that opens the
// volume, once; one that is not here, or on a stick, is left alone.
func TestSyncAdd(t *testing.T) {
	d, h := owned(t, unlock.MarkEnrolled)
	s := syncOf(d, h, 1)
	dir := t.TempDir()
	file := filepath.Join(dir, "key")
	if err := os.WriteFile(file, secret.Random(32).Reveal(), 0o600); err != nil {
		t.Fatal(err)
	}
	s.volume.Sources = []string{"kms", "key-file", "key-file-2", "key-file-3"}
	s.plan.KeyFiles = []plan.KeyFile{{Name: "key-file", Path: file}, {Name: "key-file-2", Path: file + "x"}, {Name: "key-file-3", Device: "LABEL=KEYS", Path: "key"}}

	for i, tt := range []struct {
		key   luks2.NewKey
		added []int
		left  string
	}{
		{luks2.NewKey{}, nil, "has no keyslot"},
		{luks2.NewKey{Passphrase: syncKey(0)}, []int{6}, ""},
		{luks2.NewKey{Passphrase: syncKey(0)}, nil, ""},
	} {
		var out synced
		if err := s.add(t.Context(), &out, tt.key); err != nil || !slices.Equal(out.Added, tt.added) {
			t.Errorf("run %d: added %v, %v, want %v", i, out.Added, err, tt.added)
		}
		text := strings.Join(out.Left, "; ")
		if !strings.Contains(text, file+"x in the image is not on this machine") || !strings.Contains(text, tt.left) || tt.left == "" && len(out.Left) != 1 {
			t.Errorf("run %d: left is %q, want %q in it", i, text, tt.left)
		}
	}
	if err := s.add(t.Context(), &synced{}, luks2.NewKey{Passphrase: secret.Own([]byte("wrong"))}); err != nil {
		t.Errorf("nothing to add: %v", err)
	}
}

// TestSyncUnit: the units are right by systemd's own word, and hold up nothing.
func TestSyncUnit(t *testing.T) {
	for name, starts := range map[string]string{
		"latchkey-volumes.service": "/usr/bin/latchkey volume sync --plan ", "latchkey-recovery.service": "/usr/bin/latchkey volume prove-recovery",
	} {
		text, err := os.ReadFile(filepath.Join("..", "..", "images", "systemd", name))
		if err != nil {
			t.Fatal(err)
		}
		unit := settingsOf(string(text))
		if got := unit["ExecStart"]; len(got) != 1 || !strings.HasPrefix(got[0], starts) || len(unit["Before"]) > 0 || len(unit["RequiredBy"]) > 0 {
			t.Errorf("%s runs %q, before %q, required by %q", name, got, unit["Before"], unit["RequiredBy"])
		}
		verifyUnit(t, name, string(text))
	}
}

// verifyUnit asks systemd.
func verifyUnit(t *testing.T, name, text string) {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("needs systemd-analyze")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(strings.Replace(text, "/usr/bin/latchkey ", self+" ", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemd-analyze", "verify", "--man=no", file).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
