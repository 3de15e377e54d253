package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"latchkey/boot/codes"
	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
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

// F21: a cut before any write of an enrollment leaves the operator's key,
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
		if slots != 2 || tokens != 1 { // keyslot and mark are one change: faults/node.md M10
			t.Errorf("after %d writes: %d keyslots and %d tokens are left, want the operator's and ours", writes, slots, tokens)
		}
		if err == nil && boots {
			t.Logf("an enrollment is %d writes", writes)
			return
		}
	}
	t.Error("no enrollment came to its end")
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
	if _, err := b.commit(path, &lossy, 1000); codes.Of(err) != kms.CodeUnreachable {
		t.Fatalf("commit = %v, want code %s", err, kms.CodeUnreachable)
	}

	if slots, tokens := slotsOf(t, path); slots != 2 || tokens != 1 {
		t.Errorf("%d keyslots, %d tokens, want the new one to stay", slots, tokens)
	}
	if !b.bootable(path) {
		t.Error("the KMS did not take the key, so the test shows nothing")
	}

	if _, err := b.commit(path, e, 1000); codes.Of(err) != kms.Exists.Code() {
		t.Errorf("again = %v, want code exists", err)
	}
	if slots, tokens := slotsOf(t, path); slots != 2 || tokens != 1 || !b.bootable(path) {
		t.Errorf("%d keyslots, %d tokens: the keyslot that the KMS has must stay", slots, tokens)
	}
}

// One lost answer is nothing: the same put again is taken for the same, and it
// is said that it is waited for.
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

	said := b.hear(e)
	slot, err := b.commit(path, e, 1000)
	if strings.Count(*said, "asking again (try 2 of 4)") != 1 {
		t.Errorf("it said %q, want that it asks again", *said)
	}
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

	f, h, err := changeVolume(path)
	b.check(err)
	m := unlock.Marks(h)[0]
	m.Node[0] ^= 1
	_, _, err = h.SetToken(f, luks2.AnyToken, m.JSON())
	b.check(errors.Join(err, f.Close()))
	if slot, err := b.commit(path, e, 1000); err != nil || slot != 2 {
		t.Fatalf("commit = %d, %v", slot, err)
	}

	if slots, tokens := slotsOf(t, path); slots != 2 || tokens != 2 || !b.bootable(path) {
		t.Errorf("%d keyslots, %d tokens, want the operator's, ours, and the other machine's token", slots, tokens)
	}
}

// What the KMS gets of an automated volume has no piece of the key in it.
func TestSealedOfferHidesTheKey(t *testing.T) {
	b := newBench(t)
	e := &enrollment{id: b.id, mode: kms.Bound}
	key := secret.Random(32)
	offer, err := e.offer(t.Context(), key)
	b.check(err)
	for i := 0; i < key.Len(); i += 8 {
		if bytes.Contains(offer.Secret.Reveal(), key.Reveal()[i:i+8]) {
			t.Errorf("bytes %d to %d of the key are in the blob", i, i+8)
		}
	}
	back, err := b.id.Unseal(t.Context(), offer.Secret.Reveal())
	if err != nil || !back.Equal(key) {
		t.Errorf("Unseal = %v, %v, want the key", back, err)
	}
}
