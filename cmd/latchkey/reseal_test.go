package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"latchkey/boot/codes"
	"latchkey/internal/pcr"
	"latchkey/internal/secret"
	"latchkey/kms/server/eventlog/eventlogtest"
	"latchkey/unlock/luks2"
	"latchkey/unlock/luks2/luks2test"
	"latchkey/unlock/source/cryptenroll"
	"latchkey/unlock/tpm"
	"latchkey/unlock/tpm/tpmtest"
)

// PCR 4 of recorded boots is replayed, and with another program in place of
// one of them.
func TestReplay4(t *testing.T) {
	for _, boot := range []string{"plain", "secure", "grub", "sdboot", "sdboot-257"} {
		e := eventlogtest.Raw(boot)
		other := [32]byte{1, 2, 3}
		l := eventlogtest.Parse(e.Log)
		i := l.Find(4, eventlogtest.Application, func(eventlogtest.Event) bool { return true })
		old := l.Events[i].Digest
		for i, event := range l.Events {
			if event.PCR == 4 && event.Digest == old {
				l.Events[i].Digest = other
			}
		}

		s, found, err := replay4(e.Log, map[[32]byte][32]byte{old: other, {9}: {8}})
		if err != nil || s.now != e.PCRs[4] || s.next != l.PCRs()[4] || !found[old] || found[[32]byte{9}] {
			t.Errorf("%s: replay4 = %x, %x, %v, %v, want %x, %x", boot, s.now, s.next, found, err, e.PCRs[4], l.PCRs()[4])
		}
	}
	if _, _, err := replay4([]byte("no log"), nil); err == nil {
		t.Error("replay4 of no log: no error")
	}
}

// A sealedBench is a volume of a machine with a TPM, without a key server.
type sealedBench struct {
	*bench
	chip   *tpm.TPM
	socket string
	path   string
	key    luks2.VolumeKey
}

// newSealed makes a volume with b.key in keyslot 0 and a secret that is bound
// to PCR 7 in keyslot 1.
func newSealed(t *testing.T) *sealedBench {
	t.Helper()
	sim := tpmtest.Start(t)
	chip, err := tpm.Open(sim.Socket)
	b := &sealedBench{bench: &bench{t: t, lab: &lab{dir: t.TempDir()}, key: secret.Random(32)}, chip: chip, socket: sim.Socket}
	b.check(err)
	t.Cleanup(func() { chip.Close() })
	b.extend("firmware")
	b.path = filepath.Join(b.dir, "vol")
	f, err := os.Create(b.path)
	b.check(err)
	defer f.Close()
	b.check(f.Truncate(3 << 20))
	_, b.key, err = luks2.Format(f, luks2.NewVolume{SizeBytes: 3 << 20, OffsetBytes: 2 << 20}, luks2.NewKey{Passphrase: b.bench.key, Random: true})
	b.check(err)
	sealed, token, err := cryptenroll.Bind(t.Context(), chip, cryptenroll.Request{PCRs: []int{7}})
	b.check(err)
	b.bind(b.path, sealed, token)
	return b
}

func (b *sealedBench) extend(word string) {
	b.t.Helper()
	d := pcr.Measure([]byte(word))
	b.check(b.chip.Extend(b.t.Context(), 7, d.Of))
}

// next is PCR 7 after another word.
func (b *sealedBench) next(word string) map[int][32]byte {
	b.t.Helper()
	now, err := b.chip.ReadPCR(b.t.Context(), 7)
	b.check(err)
	return map[int][32]byte{7: pcr.Extend(now, []byte(word))}
}

func (b *sealedBench) reseal(word string) []resealed {
	b.t.Helper()
	f, _, err := changeVolume(b.path)
	b.check(err)
	defer f.Close()
	made, err := resealing{f, f.SizeBytes, "the boot of now"}.stage(b.t.Context(), b.chip, b.key, b.next(word))
	b.check(err)
	return made
}

// opensBy is the keyslot that the TPM opens now, -1 for none, and why.
func (b *sealedBench) opensBy() (slot int, err error) {
	b.t.Helper()
	_, h, err := readVolume(b.path)
	b.check(err)
	var names []string
	for _, t := range h.Tokens() {
		names = append(names, cryptenroll.Describe(t.JSON).Sealed)
	}
	plan := filepath.Join(b.dir, "plan.yaml")
	b.check(os.WriteFile(plan, fmt.Appendf(nil, "volumes: [{uuid: %s, name: data, sources: [systemd-tpm2: {sealed: [%s]}]}]\n", h.UUID(), strings.Join(names, ", ")), 0o600))
	_, out, err := b.open(openVolume{plan: plan, tpm: b.socket}, b.path, "")
	if err != nil {
		return -1, err
	}
	_, scanErr := fmt.Sscanf(out, "keyslot %d", &slot)
	b.check(scanErr)
	return slot, nil
}

func (b *sealedBench) finish(boot string, opened int) (removed, waiting []int) {
	b.t.Helper()
	f, _, err := changeVolume(b.path)
	b.check(err)
	defer f.Close()
	removed, waiting, err = resealing{f, f.SizeBytes, boot}.finish(opened)
	b.check(err)
	return removed, waiting
}

// A change that was announced opens by the new keyslot, and only then does
// the old one go. One that was not announced names the PCR.
func TestReseal(t *testing.T) {
	b := newSealed(t)
	if made := b.reseal("update"); len(made) != 1 || made[0].Keyslot != 2 || made[0].Replaces != 1 || !strings.HasSuffix(made[0].What, "in place of keyslot 1 after a boot that used it") {
		t.Fatalf("stage = %+v, want keyslot 2 in place of 1", made)
	}
	if made := b.reseal("update"); len(made) != 1 || made[0].Keyslot != 3 {
		t.Fatalf("announced again = %+v, want keyslot 3 in place of 2", made)
	}
	if slot, err := b.opensBy(); slot != 1 {
		t.Fatalf("before the change keyslot %d opens, %v, want 1", slot, err)
	}
	for _, opened := range []int{-1, 0, 1} {
		if removed, waiting := b.finish("another", opened); len(removed) > 0 || !slices.Equal(waiting, []int{3}) {
			t.Fatalf("finish after a boot by keyslot %d: removed %v, waiting %v", opened, removed, waiting)
		}
	}

	if removed, waiting := b.finish("the boot of now", 3); len(removed) > 0 || !slices.Equal(waiting, []int{3}) {
		t.Fatalf("finish in the boot that announced it, opened by another keyslot 3: removed %v, waiting %v", removed, waiting)
	}

	b.extend("update")
	slot, err := b.opensBy()
	if slot != 3 {
		t.Fatalf("after the change keyslot %d opens, %v, want 3", slot, err)
	}
	if removed, waiting := b.finish("another", 3); !slices.Equal(removed, []int{1}) || len(waiting) > 0 {
		t.Fatalf("finish = %v, %v, want keyslot 1 removed", removed, waiting)
	}
	if slots, tokens := slotsOf(t, b.path); slots != 2 || tokens != 1 {
		t.Errorf("%d keyslots, %d tokens are left, want 2 and 1", slots, tokens)
	}
	if removed, waiting := b.finish("another", 3); len(removed)+len(waiting) > 0 {
		t.Errorf("finish again: removed %v, waiting %v", removed, waiting)
	}

	b.extend("nobody announced it")
	if slot, err = b.opensBy(); slot >= 0 || codes.Of(err) != tpm.CodeSealPolicy || !strings.Contains(err.Error(), `PCR 7 was "`) {
		t.Errorf("after an unannounced change: keyslot %d, %v, want %s and the PCR", slot, err, tpm.CodeSealPolicy)
	}
}

// What no keyslot is bound to is said, with what they are bound to.
func TestResealConcerns(t *testing.T) {
	b := newSealed(t)
	f, h, err := changeVolume(b.path)
	b.check(err)
	defer f.Close()
	err = concerned(h, map[int][32]byte{7: {}, 4: {}})
	if !errors.Is(err, errNothingBound) || !strings.Contains(err.Error(), "PCRs [7]") {
		t.Errorf("concerned = %v, want PCR 4 refused, and PCR 7 named", err)
	}
	if err := concerned(h, map[int][32]byte{7: {}}); err != nil {
		t.Errorf("concerned of PCR 7 = %v", err)
	}
}

// F21: the power is cut before any write of an announcement, or of its end.
// The keyslot of now stays until the other one has opened the volume, and
// both steps can be run again.
func TestResealPowerCut(t *testing.T) {
	b := newSealed(t)
	base, err := os.ReadFile(b.path)
	b.check(err)
	rec := &luks2test.Recorder{Disk: slices.Clone(luks2test.Disk(base))}
	size := int64(len(base))
	made, err := resealing{rec, size, "x"}.stage(t.Context(), b.chip, b.key, b.next("update"))
	b.check(err)
	staged := len(rec.Ops)
	_, _, err = resealing{rec, size, "y"}.finish(made[0].Keyslot)
	b.check(err)

	// keys are those that the TPM would give before and after the change.
	slotsLeft := func(d luks2test.Disk) (ids []int) {
		h, err := luks2.Read(d, size)
		b.check(err)
		return slotIDs(h)
	}
	whole := slices.Clone(luks2test.Disk(base))
	for _, o := range rec.Ops[:staged] {
		copy(whole[o.At:], o.Data)
	}
	(&luks2test.Recorder{Ops: rec.Ops[:staged]}).Cuts(base, func(cut string, d luks2test.Disk) {
		if !slices.Contains(slotsLeft(d), 1) || !slices.Equal(d[areaOf1:areaOf1+areaSize], base[areaOf1:areaOf1+areaSize]) {
			t.Fatalf("cut at %s: the keyslot of now is gone", cut)
		}
	})
	(&luks2test.Recorder{Ops: rec.Ops[staged:]}).Cuts(whole, func(cut string, d luks2test.Disk) {
		if !slices.Contains(slotsLeft(d), made[0].Keyslot) || !slices.Equal(d[areaOf1+areaSize:areaOf1+2*areaSize], whole[areaOf1+areaSize:areaOf1+2*areaSize]) {
			t.Fatalf("cut at %s: the keyslot that opened the volume is gone", cut)
		}
		removed, waiting, err := resealing{d, size, "y"}.finish(made[0].Keyslot)
		h, readErr := luks2.Read(d, size)
		if err != nil || readErr != nil || len(waiting) > 0 || !slices.Equal(slotIDs(h), []int{0, 2}) || len(h.Tokens()) != 1 || strings.Contains(string(h.Tokens()[0].JSON), "latchkey_replaces") {
			t.Fatalf("cut at %s: again: removed %v, waiting %v, %v", cut, removed, waiting, err)
		}
	})
}

// Where the areas of keyslots lie in a volume of newSealed: two headers of 16
// KiB, then 258,048 bytes for each.
const (
	areaSize = 258048
	areaOf1  = 32<<10 + areaSize
)
