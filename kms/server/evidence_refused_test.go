package server_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"latchkey/kms"
	"latchkey/kms/server/eventlog/eventlogtest"
	"latchkey/kms/softtpm"
)

// Logs that are not of the proven boot are refused and said; the machine
// still asks, and gets no more and no less for it.
func TestEvidenceRefused(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*softtpm.Booted)
		says   string
	}{
		{"a log of another boot", func(b *softtpm.Booted) { b.Log.Log = eventlogtest.Recorded("plain").Encode() }, "do not add up"},
		{"an event taken out", func(b *softtpm.Booted) {
			l := eventlogtest.Recorded("secure")
			l.Events = append(l.Events[:5], l.Events[6:]...)
			b.Log.Log = l.Encode()
		}, "do not add up"},
		{"truncated", func(b *softtpm.Booted) { b.Log.Log = b.Log.Log[:len(b.Log.Log)/2] }, "malformed"},
		{"garbage", func(b *softtpm.Booted) { b.Log.Log = []byte("garbage") }, "malformed"},
		{"longer than may be sent", func(b *softtpm.Booted) { b.Log.Log = make([]byte, kms.MaxLog+1) }, "no event log"},
		{"none", func(b *softtpm.Booted) { b.Log.Log = nil }, "no event log"},
	} {
		f := newKMS(t)
		node := boot(newTPM(t), eventlogtest.Recorded("secure"))
		row.change(node)
		for range 2 {
			if _, err := f.get(node); code(err) != "pending" {
				t.Fatalf("%s: Get = %v, want pending", row.name, err)
			}
		}
		n := f.node(node.TPM)
		if n.BootLog == nil || n.BootLog.Summary != nil || !strings.Contains(n.BootLog.String(), row.says) || !f.audited("boot-log", row.says) {
			t.Errorf("%s: the record says %v, want %q", row.name, n.BootLog, row.says)
		}
		if node.Shown != 1 {
			t.Errorf("%s: it was asked %d times within a moment, want once", row.name, node.Shown)
		}
	}
}

// The common boot sends what it sent before: three messages of the same
// sizes, no matter what a KMS would like to know of others.
func TestEvidenceCostsTheCommonBootNothing(t *testing.T) {
	f := newKMS(t)
	tpm := f.owner("secure")
	before, after := tpm, boot(tpm, eventlogtest.Recorded("secure"))
	w := f.through(&wire{})
	for _, p := range []kms.Prover{before, after} {
		if _, err := f.client().Get(ctx, f.url, p, wants()); err != nil {
			t.Fatal(err)
		}
	}
	var sizes []int
	for _, b := range w.bodies {
		sizes = append(sizes, len(b))
	}
	if len(sizes) != 8 || !slices.Equal(sizes[:4], sizes[4:]) {
		t.Errorf("an init that knows no ask sent and got %v bytes, one that does %v", sizes[:4], sizes[4:])
	}
}

// An M6 is worth nothing to who did not open the challenge: altered, sent
// with another's cookie, or larger than the bound it changes nothing.
func TestEvidenceAltered(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func([]byte) []byte
	}{
		{"one bit of the log", func(b []byte) []byte { b[len(b)-40] ^= 1; return b }},
		{"one bit of the cookie", func(b []byte) []byte { b[60] ^= 1; return b }},
		{"cut", func(b []byte) []byte { return b[:len(b)-1] }},
		{"10 MB", func(b []byte) []byte { return append(b, make([]byte, 10<<20)...) }},
		{"empty", func([]byte) []byte { return nil }},
	} {
		f := newKMS(t)
		node := boot(newTPM(t), eventlogtest.Recorded("secure"))
		f.through(&wire{request: func(path string, body []byte) []byte {
			if path == kms.EvidencePath {
				return row.change(body)
			}
			return body
		}})
		_, err := f.client().Get(ctx, f.url, node, wants())
		if code(err) != "pending" || !strings.Contains(err.Error(), "was not shown what was booted") {
			t.Errorf("%s: Get = %v, want pending, and that the log was not shown", row.name, err)
		}
		if n := f.node(node.TPM); n.BootLog != nil {
			t.Errorf("%s: taken: %v", row.name, n.BootLog)
		}
	}
}

// Evidence is of the boot that was proven: another one's quote is not taken.
func TestEvidenceOfAnotherBoot(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*softtpm.Booted)
	}{
		{"PCR 7 was another", func(b *softtpm.Booted) { b.PCRs[7] = [32]byte{7} }},
		{"the TPM was reset meanwhile", func(b *softtpm.Booted) { b.Reset++ }},
	} {
		f := newKMS(t)
		node := &between{boot(newTPM(t), eventlogtest.Recorded("secure")), row.change}
		if _, err := f.get(node); code(err) != "pending" || f.node(node.TPM).BootLog != nil {
			t.Errorf("%s: Get = %v, the record has %v", row.name, err, f.node(node.TPM).BootLog)
		}
	}
}

// between changes its machine between the two quotes.
type between struct {
	*softtpm.Booted
	change func(*softtpm.Booted)
}

func (b *between) BootLog(c context.Context) (kms.BootLog, error) {
	b.change(b.Booted)
	return b.Booted.BootLog(c)
}
