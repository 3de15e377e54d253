package luks2_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
)

// A keyslot that is skipped opens nothing by its number either, and says
// why; removing it leaves the others.
func TestSkippedKeyslot(t *testing.T) {
	m := made{"", fast, [][]string{addKey(with(fast, "--hash", "sha1")...), addKey(with(fast, "--unbound", "--key-size", "256", "--key-slot", "5")...)}, "", nil}
	d := load(t, m.make(t))
	h, err := read(d)
	if err != nil {
		t.Fatal(err)
	}

	for slot, want := range map[int]string{1: "keyslot-af", 5: "keyslot-unbound"} {
		if _, _, err := unlock(h, d, "other", slot); code(err) != want {
			t.Errorf("Unlock of keyslot %d = %v, want code %s", slot, err, want)
		}
	}
	_, _, err = h.Unlock(context.Background(), d, luks2.Attempt{Passphrase: secret.Own([]byte("other")), Slot: luks2.AnySlot})
	if !errors.Is(err, luks2.ErrWrongKey) || code(err) != "" || !strings.Contains(err.Error(), "keyslot 1 (keyslot-af") {
		t.Errorf("Unlock = %v, want %v with the keyslots that were not tried", err, luks2.ErrWrongKey)
	}

	if _, err := h.RemoveKey(d, 0); !errors.Is(err, luks2.ErrLastSlot) {
		t.Errorf("RemoveKey of the last usable keyslot = %v, want %v", err, luks2.ErrLastSlot)
	}
	for _, slot := range []int{1, 5} {
		if h, err = h.RemoveKey(d, slot); err != nil {
			t.Fatalf("RemoveKey of keyslot %d = %v", slot, err)
		}
	}
	if len(h.Skipped()) > 0 {
		t.Errorf("Skipped() = %v after removing them", h.Skipped())
	}
	all := dumpJSON(t, save(t, d))
	if len(all["digests"]) != 1 || len(all["keyslots"]) != 1 {
		t.Errorf("cryptsetup reads %d digests and %d keyslots, want 1 of each", len(all["digests"]), len(all["keyslots"]))
	}
}

// The identity of a volume with another digest than 32 bytes of SHA-256 is
// as its documentation says, from what cryptsetup reads of the header.
func TestIdentityOfOtherDigests(t *testing.T) {
	for _, m := range []made{
		{"sha512", with(fast, "--hash", "sha512", "--sector-size", "512"), nil, "", nil},
		{"converted", args{"--type", "luks1", "--pbkdf-force-iterations", "1000"}, [][]string{{"convert", "-q", "--type", "luks2", "DISK"}}, "", nil},
	} {
		path := m.make(t)
		h, err := read(load(t, path))
		if err != nil {
			t.Fatal(err)
		}
		d := dumpJSON(t, path)["digests"]["0"].(map[string]any)
		bytesOf := func(name string) []byte {
			b, err := base64.StdEncoding.DecodeString(d[name].(string))
			if err != nil {
				t.Fatal(err)
			}
			return b
		}

		want := []byte("latchkey header subset 2" + h.UUID() + " " + d["hash"].(string) + " ")
		want = binary.BigEndian.AppendUint64(want, uint64(h.Segment().OffsetBytes))
		want = binary.BigEndian.AppendUint64(want, 0)
		want = binary.BigEndian.AppendUint32(want, 512)
		want = binary.BigEndian.AppendUint32(want, uint32(d["iterations"].(float64)))
		want = append(append(want, bytesOf("salt")...), bytesOf("digest")...)
		if got := h.SubsetDigest(); got != sha256.Sum256(want) {
			t.Errorf("%s: SubsetDigest = %x, want %x", m.name, got, sha256.Sum256(want))
		}
	}
}
