package together_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"latchkey/boot/boottest"
	"latchkey/boot/codes"
	"latchkey/internal/plan"
	"latchkey/internal/secret"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source/together"
)

// mixer is that of a disk with a keyslot for each of some combinations.
func mixer(t *testing.T, ways [][]string, keyslots ...map[string]string) (*boottest.Disk, *luks2.Header, *together.Mixer) {
	t.Helper()
	d := boottest.RootDisk()
	for _, parts := range keyslots {
		d.AddTogether(parts)
	}
	h, err := luks2.Read(d, int64(len(d.Bytes)))
	if err != nil {
		t.Fatal(err)
	}
	return d, h, together.New(h, ways, plan.KindOf)
}

// adding adds a part and tells which keyslots open by what it makes.
func adding(t *testing.T, d *boottest.Disk, h *luks2.Header, m *together.Mixer, name string, keys ...unlock.Candidate) string {
	t.Helper()
	made, err := m.Add(name, keys)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprint(len(made))
	for _, k := range made {
		if len(k.Slots) != 1 {
			t.Fatalf("for keyslots %d, want one", k.Slots)
		}
		volume, slot, err := h.Unlock(t.Context(), d, luks2.Attempt{Passphrase: k.Passphrase, Slot: k.Slots[0]})
		volume.Wipe()
		if err == nil {
			text += fmt.Sprintf(" opens %d", slot)
		}
		if k.Staged {
			text += " staged"
		}
	}
	for _, k := range keys {
		k.Passphrase.Wipe() // it is the caller's
	}
	return text
}

func key(s string) unlock.Candidate { return unlock.Candidate{Passphrase: secret.Own([]byte(s))} }

// TestMixer: passphrases come when all parts are there, whichever comes last,
// and with every part that was given.
func TestMixer(t *testing.T) {
	two := [][]string{{"kms", "key-file-2"}}
	d, h, m := mixer(t, two, map[string]string{"kms": "one", "key-file": "two"})
	if m.Kept("kms") || !m.Has("kms") || !m.Has("key-file-2") || m.Has("key-file") {
		t.Error("what is a part is told wrongly")
	}
	staged := key("one")
	staged.Staged = true
	var got []string
	for _, step := range []struct {
		name string
		key  unlock.Candidate
	}{
		{"key-file-2", key("wrong")}, {"key-file-2", key("two")}, {"key-file-2", key("two")}, {"kms", key("one")}, {"kms", staged}, {"key-file-2", key("more")},
	} {
		got = append(got, adding(t, d, h, m, step.name, step.key))
	}
	if want := "0, 0, 0, 2 opens 2, 2 staged opens 2 staged, 1"; strings.Join(got, ", ") != want {
		t.Errorf("Add = %s, want %s", strings.Join(got, ", "), want)
	}

	m.Wipe()
	if m.Kept("kms") || adding(t, d, h, m, "kms", key("one")) != "0" {
		t.Error("Wipe leaves parts")
	}
	for i := range 4 { // as many as are kept
		adding(t, d, h, m, "key-file-2", key(fmt.Sprint(i)))
	}
	adding(t, d, h, m, "key-file-2", key("two"))
	if got := adding(t, d, h, m, "kms", key("one")); got != "4 opens 2" {
		t.Errorf("with five sticks: %s, want four that are kept, the last among them", got)
	}
}

// TestMixerTokens: a secret of the TPM is for the keyslot of its token, and
// ways share what they have in common.
func TestMixerTokens(t *testing.T) {
	ways := [][]string{{"kms", "systemd-tpm2"}, {"kms", "key-file"}}
	d, h, m := mixer(t, ways, map[string]string{"kms": "k", "systemd-tpm2": "t"}, map[string]string{"key-file": "f", "kms": "k"})
	sealed := m.Sealed()
	if len(sealed) != 1 || sealed[0].Slot != 2 || !strings.Contains(string(sealed[0].Sealed), "tpm2-blob") {
		t.Fatalf("Sealed = %+v", sealed)
	}
	of := func(slot int) unlock.Candidate {
		k := key("dA==") // base64, as systemd has it
		k.Slots = []int{slot}
		return k
	}
	got := []string{adding(t, d, h, m, "systemd-tpm2", of(3)), adding(t, d, h, m, "systemd-tpm2", of(2)), adding(t, d, h, m, "key-file", key("f")), adding(t, d, h, m, "kms", key("k"))}
	if want := "0, 0, 0, 2 opens 2 opens 3"; strings.Join(got, ", ") != want {
		t.Errorf("Add = %s, want %s", strings.Join(got, ", "), want)
	}
}

// TestMixerLost: a way is lost without one of its parts, or when all of its
// sources have ended.
func TestMixerLost(t *testing.T) {
	ways := [][]string{{"kms", "systemd-tpm2"}, {"kms", "key-file"}}
	for _, row := range []struct {
		kept, ended string
		lost        bool
	}{
		{"", "", false},
		{"", "key-file", false},
		{"", "systemd-tpm2 key-file", true},
		{"", "kms", true},
		{"kms", "kms", false},
		{"kms systemd-tpm2", "kms systemd-tpm2", false},
		{"kms systemd-tpm2", "kms systemd-tpm2 key-file", true},
		{"kms key-file", "kms key-file systemd-tpm2", true},
	} {
		_, _, m := mixer(t, ways, map[string]string{"kms": "k", "systemd-tpm2": "t"})
		for _, name := range strings.Fields(row.kept) {
			if _, err := m.Add(name, []unlock.Candidate{key("x")}); err != nil {
				t.Fatal(err)
			}
		}
		if got := m.Lost(ways, func(name string) bool { return slices.Contains(strings.Fields(row.ended), name) }); got != row.lost {
			t.Errorf("kept %q, ended %q: Lost = %t, want %t", row.kept, row.ended, got, row.lost)
		}
	}
}

// TestMixerCheck: what cannot be opened whatever comes is named with its
// tokens.
func TestMixerCheck(t *testing.T) {
	ways := [][]string{{"kms", "systemd-tpm2"}}
	_, _, none := mixer(t, ways)
	_, _, other := mixer(t, ways, map[string]string{"kms": "k", "key-file": "f"})
	_, _, good := mixer(t, append(ways, []string{"kms", "key-file"}), map[string]string{"kms": "k", "key-file": "f"})
	if err := none.Check(ways); codes.Of(err) != together.CodeToken || !strings.Contains(err.Error(), "enroll-together") {
		t.Errorf("no token: %v", err)
	}
	if err := other.Check(ways); codes.Of(err) != together.CodeToken || !strings.Contains(err.Error(), "token 0: the plan does not allow key-file and kms together") {
		t.Errorf("another token: %v", err)
	}
	if good.Check(ways) == nil || good.Check([][]string{{"kms", "key-file"}}) != nil {
		t.Error("each recipe is judged by its own ways")
	}
	if m := together.New(nil, nil, plan.KindOf); m != nil || m.Has("kms") || m.Kept("kms") || m.Sealed() != nil {
		t.Error("a volume without ways has no Mixer")
	}
}
