package main

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/unlock/luks2"
	"latchkey/unlock/tpm"
)

// errCut is what a program does not live to see.
var errCut = errors.New("the power is gone")

// A cutDisk loses its power before the write with this number.
type cutDisk struct {
	*os.File
	left int
}

func (d *cutDisk) WriteAt(p []byte, off int64) (int, error) {
	if d.left--; d.left < 0 {
		return 0, errCut
	}
	return d.File.WriteAt(p, off)
}

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
	if err := e.deposit(b.t.Context(), kms.Enroll, kms.Offer{}); codeOf(err) == "pending" {
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
	f, h, err := readVolume(path, os.O_RDONLY)
	b.check(err)
	defer f.Close()
	v, _, err := h.Unlock(b.t.Context(), f, luks2.Attempt{Passphrase: b.key, Slot: 0})
	v.Wipe()
	b.check(err)
}

func slotsOf(t *testing.T, path string) (slots, tokens int) {
	t.Helper()
	f, h, err := readVolume(path, os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return len(h.Keyslots()), len(h.Tokens())
}

// F21: a cut before any write of an enrolment leaves the operator's key,
// and nothing in the KMS that does not open; running it again ends well.
func TestPowerCutWhileEnrolling(t *testing.T) {
	b := newBench(t)
	for writes := range 100 {
		path, e := b.volume("vol")
		_, err := b.commit(path, e, writes)
		b.opensWithKey(path)
		boots := b.bootable(path)
		if err == nil && !boots {
			t.Errorf("after %d writes: done, but the machine would not boot", writes)
		}
		if !boots {
			if slot, err := b.commit(path, e, 1000); err != nil || !b.bootable(path) {
				t.Errorf("after %d writes, again: slot %d, %v", writes, slot, err)
			}
		}
		slots, tokens := slotsOf(t, path)
		if slots > 3 || tokens > 1 { // the last keyslot may have had no time to get its mark
			t.Errorf("after %d writes: %d keyslots and %d tokens are left", writes, slots, tokens)
		}
		if err == nil && boots && slots == 2 && writes > 6 {
			t.Logf("an enrolment is %d writes", writes)
			return
		}
	}
	t.Error("no enrolment came to its end")
}

// A cutWire breaks the connection at a number of answers.
func cutWire(left int) func(context.Context, string, string) (net.Conn, error) {
	var answers atomic.Int32
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, network, address)
		return &cutConn{c, &answers, int32(left)}, err
	}
}

type cutConn struct {
	net.Conn
	answers *atomic.Int32
	left    int32
}

func (c *cutConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && c.answers.Add(1) > c.left {
		return 0, errCut
	}
	return n, err
}

// The KMS' answer is lost for good: it may have taken the key, so the
// keyslot stays. The next run finds the KMS unwilling, and takes back only
// what it added itself.
func TestAnswerOfPutIsLost(t *testing.T) {
	b := newBench(t)
	path, e := b.volume("vol")
	lossy := *e
	lossy.client = &kms.Client{Pins: e.client.Pins, Dial: cutWire(1)}
	if _, err := b.commit(path, &lossy, 1000); codeOf(err) != kms.CodeUnreachable {
		t.Fatalf("commit = %v, want code %s", err, kms.CodeUnreachable)
	}
	if slots, tokens := slotsOf(t, path); slots != 2 || tokens != 1 {
		t.Errorf("%d keyslots, %d tokens, want the new one to stay", slots, tokens)
	}
	if !b.bootable(path) {
		t.Error("the KMS did not take the key, so the test shows nothing")
	}
	if _, err := b.commit(path, e, 1000); codeOf(err) != kms.Exists.Code() {
		t.Errorf("again = %v, want code exists", err)
	}
	if slots, tokens := slotsOf(t, path); slots != 2 || tokens != 1 || !b.bootable(path) {
		t.Errorf("%d keyslots, %d tokens: the keyslot that the KMS has must stay", slots, tokens)
	}
}

// One lost answer is nothing: the same put again is taken for the same.
func TestOneAnswerOfPutIsLost(t *testing.T) {
	b := newBench(t)
	path, e := b.volume("vol")
	var dials atomic.Int32
	cut := cutWire(1)
	e.client.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if dials.Add(1) == 1 {
			return cut(ctx, network, address)
		}
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}
	slot, err := b.commit(path, e, 1000)
	if slots, tokens := slotsOf(t, path); err != nil || slot != 1 || slots != 2 || tokens != 1 || !b.bootable(path) {
		t.Errorf("commit = %d, %v with %d keyslots, %d tokens", slot, err, slots, tokens)
	}
}

// What an earlier run left without the KMS having it goes, when the KMS has
// taken a newer key; what another machine left stays.
func TestLeftoversAreSwept(t *testing.T) {
	b := newBench(t)
	path, e := b.volume("vol")
	unreachable := *e
	unreachable.client = &kms.Client{Pins: e.client.Pins, Dial: cutWire(0)}
	if _, err := b.commit(path, &unreachable, 1000); err == nil {
		t.Fatal("the KMS was reached")
	}
	f, h, err := readVolume(path, os.O_RDWR)
	b.check(err)
	m := marks(h)[0]
	m.Node[0] ^= 1
	_, _, err = h.SetToken(f, luks2.AnyToken, m.json())
	b.check(errors.Join(err, f.Close()))
	if slot, err := b.commit(path, e, 1000); err != nil || slot != 2 {
		t.Fatalf("commit = %d, %v", slot, err)
	}
	if slots, tokens := slotsOf(t, path); slots != 2 || tokens != 2 || !b.bootable(path) {
		t.Errorf("%d keyslots, %d tokens, want the operator's, ours, and the other machine's token", slots, tokens)
	}
}
