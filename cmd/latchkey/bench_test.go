package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/boot/codes"
	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/unlock/luks2"
	"latchkey/unlock/tpm"
)

// A bench is an approved machine with its KMS.
type bench struct {
	*lab
	t         *testing.T
	data, url string
	pin       kms.Pin
	id        *tpm.Identity
	key       secret.Bytes
}

func newBench(t *testing.T) *bench {
	if why := needChips(); why != "" {
		t.Skip(why)
	}
	b := &bench{lab: &lab{dir: t.TempDir(), running: map[string]*exec.Cmd{}}, t: t, key: secret.Random(32)}
	t.Cleanup(b.close)
	b.data = filepath.Join(b.dir, "kms")
	_, err := b.ask(b.data, "init")
	b.check(err)
	b.url, err = b.kms(b.data)
	b.check(err)
	trust, err := b.ask(b.data, "trust", "--json")
	b.check(err)
	_, text, _ := strings.Cut(string(trust), "lk1:")
	text, _, _ = strings.Cut(text, `"`)
	b.pin, err = kms.ParsePin("lk1:" + text)
	b.check(err)
	b.identify()
	return b
}

func (b *bench) check(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) identify() {
	b.t.Helper()
	socket, err := b.chip("chip")
	b.check(err)
	id, done, err := openIdentity(b.t.Context(), socket)
	b.check(err)
	b.t.Cleanup(done)
	b.id = id
}

// volume makes a new volume that the machine owns at the KMS, without a
// secret there.
func (b *bench) volume(name string) (string, *enrollment) {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	f, err := os.Create(path)
	b.check(err)
	defer f.Close()
	b.check(f.Truncate(2 << 20))
	h, volume, err := luks2.Format(f, luks2.NewVolume{SizeBytes: 2 << 20, OffsetBytes: 1<<20 + 512<<10}, luks2.NewKey{Passphrase: b.key, Slot: 0, Random: true})
	b.check(err)
	uuid, err := kms.ParseUUID(h.UUID())
	b.check(err)
	e := &enrollment{
		client: &kms.Client{Pins: []kms.Pin{b.pin}}, url: b.url, id: b.id, mode: kms.Bound, slot: luks2.AnySlot, wait: true,
		say: b.t.Logf, volume: volume, want: kms.Want{UUID: uuid, Digest: h.SubsetDigest(), SeqID: h.SeqID()},
	}
	if err := e.deposit(b.t.Context(), kms.Enroll, kms.Offer{}); codes.Of(err) == "pending" {
		b.check(b.approve(b.data, "--pcr", "none"))
		err = e.deposit(b.t.Context(), kms.Enroll, kms.Offer{})
		b.check(err)
	}

	return path, e
}

// commit runs the enrollment's writes until the power is gone.
func (b *bench) commit(path string, e *enrollment, writes int) (int, error) {
	b.t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	b.check(err)
	defer f.Close()
	return e.commit(b.t.Context(), &cutDisk{f, writes}, 2<<20)
}

// bootable tells whether what the KMS holds opens the volume; false with
// nothing wrong means that it holds nothing yet.
func (b *bench) bootable(path string) bool {
	b.t.Helper()
	get := kmsGet{kmsOptions: kmsOptions{url: b.url}, devices: []string{path}}
	defer get.close()
	b.check(get.collect(nil))
	client := &kms.Client{Pins: []kms.Pin{b.pin}}
	g, err := client.Get(b.t.Context(), b.url, b.id, get.wants)
	b.check(err)
	defer g.Wipe()
	if g.Volumes[0].Status == kms.NoSecret {
		return false
	}

	got, err := get.try(b.t.Context(), g.Volumes[0], b.id)
	if err != nil || got.Keyslot == nil {
		b.t.Fatalf("what the KMS holds opens nothing: %v, %v", got.Status, err)
	}
	return true
}

func (b *bench) opensWithKey(path string) {
	b.t.Helper()
	f, h, err := readVolume(path)
	b.check(err)
	defer f.Close()
	v, _, err := h.Unlock(b.t.Context(), f, luks2.Attempt{Passphrase: b.key, Slot: 0})
	v.Wipe()
	b.check(err)
}

func slotsOf(t *testing.T, path string) (slots, tokens int) {
	t.Helper()
	f, h, err := readVolume(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return len(h.Keyslots()), len(h.Tokens())
}
