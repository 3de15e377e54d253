package luks2_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"latchkey/unlock/luks2"
)

var uuidShape = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// FuzzRead puts the input at the start of a disk of 2 MiB, as a primary
// header whose checksum is made valid if fix is set. Nothing may panic;
// what is accepted keeps all the rules, and can be changed and read again.
func FuzzRead(f *testing.F) {
	_, _, d := format(f)
	f.Add([]byte(d[:6<<10]), true)
	f.Add([]byte(d[:2*hdrSize]), false)
	rewriteJSON(f, d, func(text string) string { return strings.ReplaceAll(text, luks2.Cipher, "serpent-xts-plain64") })
	f.Add([]byte(d[:2*hdrSize]), false)
	f.Fuzz(func(t *testing.T, header []byte, fix bool) {
		if len(header) > 3*hdrSize {
			return
		}
		d := make(disk, 2<<20)
		copy(d, header)
		if fix {
			rewrite(d, 0, func([]byte) {})
		}

		if wide, err := luks2.Cryptsetup.Read(d, int64(len(d))); err == nil {
			checkInvariants(t, wide, int64(len(d)))
		} else if code(err) == "" {
			t.Errorf("Cryptsetup.Read = %v, which has no code", err)
		}
		h, err := read(d)
		if err != nil {
			if code(err) == "" {
				t.Errorf("Read = %v, which has no code", err)
			}
			return
		}

		checkInvariants(t, h, int64(len(d)))
		if h, err = h.Mend(d); err != nil {
			t.Fatalf("Mend = %v", err)
		}
		after, _, err := h.SetToken(d, 31, json.RawMessage(`{"type":"fuzz","keyslots":[]}`))
		if code(err) == "json-size" || code(err) == "token" { // no room for one more
			return
		}
		if err != nil {
			t.Fatalf("SetToken = %v", err)
		}

		if after.SubsetDigest() != h.SubsetDigest() || after.SeqID() != h.SeqID()+1 || after.OtherCopy() != luks2.CopySame || len(after.Skipped()) != len(h.Skipped()) {
			t.Error("the header is another one after SetToken")
		}
	})
}

func checkInvariants(t *testing.T, h *luks2.Header, deviceBytes int64) {
	for _, name := range h.Ciphers() {
		if !slices.Contains(h.Accept().Ciphers(), name) {
			t.Errorf("accepted: cipher %q", name)
		}
	}
	t.Helper()
	s := h.Segment()
	if !uuidShape.MatchString(h.UUID()) || len(h.Label()) > 47 {
		t.Errorf("UUID %q, label %q", h.UUID(), h.Label())
	}
	if !slices.Contains([]int{512, 1024, 2048, 4096}, s.SectorBytes) || s.OffsetBytes < 2*hdrSize || s.SizeBytes <= 0 || s.OffsetBytes > deviceBytes-s.SizeBytes ||
		s.OffsetBytes%int64(s.SectorBytes) != 0 || s.SizeBytes%int64(s.SectorBytes) != 0 {
		t.Errorf("segment %+v", s)
	}

	if len(h.Keyslots())+len(h.Skipped()) > 32 || len(h.Tokens()) > 32 {
		t.Errorf("%d keyslots, %d tokens", len(h.Keyslots()), len(h.Tokens()))
	}
	for _, k := range h.Skipped() {
		if k.Reason.Code() == "" {
			t.Errorf("keyslot %d is skipped without a reason", k.ID)
		}
	}
	for _, k := range h.Keyslots() {
		pbkdf2 := k.KDF.Type == "pbkdf2" && k.KDF.Iterations >= 1000 && k.KDF.Iterations <= 1<<31-1
		argon2 := (k.KDF.Type == "argon2i" || k.KDF.Type == "argon2id") && k.KDF.Time >= 1 && k.KDF.Time*k.KDF.MemoryKiB <= 128<<20 &&
			k.KDF.MemoryKiB >= 8*k.KDF.CPUs && k.KDF.MemoryKiB <= 4<<20 && k.KDF.CPUs >= 1 && k.KDF.CPUs <= 4
		if k.ID < 0 || k.ID > 31 || !pbkdf2 && !argon2 || luks2.CheckCipher(s.Cipher, k.KeyBytes) != nil {
			t.Errorf("keyslot %+v", k)
		}
	}
}
