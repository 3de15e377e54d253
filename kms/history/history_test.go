package history_test

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"latchkey/kms/history"
)

func event(i int) []byte { return fmt.Appendf(nil, `{"seq":%d}`, i+1) }

// stored is a whole tree, as the library keeps one.
type stored []tlog.Hash

func (s stored) ReadHashes(indexes []int64) (out []tlog.Hash, err error) {
	for _, i := range indexes {
		out = append(out, s[i])
	}
	return out, nil
}

// The edge alone has the root that the whole tree has, at every size, and can
// be written down and taken up again at each.
func TestEdgeIsTheTree(t *testing.T) {
	var whole stored
	var tree history.Tree
	for n := range 300 {
		want, err := tlog.TreeHash(int64(n), whole)
		if err != nil {
			t.Fatal(err)
		}
		again, err := history.Grown(tree.Size(), tree.Edge())
		if err != nil || again.Root() != want {
			t.Fatalf("Root of %d events = %v, %v, want %v", n, again.Root(), err, want)
		}
		more, err := tlog.StoredHashes(int64(n), event(n), whole)
		if err != nil {
			t.Fatal(err)
		}
		whole = append(whole, more...)
		again.Add(event(n))
		tree = again
	}
	if _, err := history.Grown(3, make([]history.Hash, 1)); err == nil {
		t.Error("an edge of another size was taken")
	}
}

// A span proves what is in it, by proofs that the library takes, and refuses
// what only removed events could prove.
func TestSpanProves(t *testing.T) {
	const all = 150
	for _, start := range []int{0, 1, 7, 64, 100, 149} {
		var tree, end history.Tree
		for i := range all {
			if i < start {
				tree.Add(event(i))
			}
			end.Add(event(i))
		}
		span := history.From(tree)
		old := tree.Root()
		for i := start; i < all; i++ {
			if err := span.Add(event(i)); err != nil {
				t.Fatal(err)
			}
		}
		for i := start; i < all; i++ {
			p, err := span.Inclusion(uint64(i))
			if err != nil {
				t.Fatal(err)
			}
			if err := tlog.CheckRecord(p, all, end.Root(), int64(i), tlog.RecordHash(event(i))); err != nil {
				t.Errorf("event %d from %d on: %v", i, start, err)
			}
		}
		if start > 0 {
			p, err := span.Consistency(uint64(start))
			if err != nil {
				t.Fatal(err)
			}
			if err := tlog.CheckTree(p, all, end.Root(), int64(start), old); err != nil {
				t.Errorf("from %d on: %v", start, err)
			}
		}
		if start > 1 {
			if _, err := span.Inclusion(0); err == nil || !strings.Contains(err.Error(), "removed") {
				t.Errorf("Inclusion of a removed event = %v", err)
			}
		}
	}
}

func key(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune('a'+n)), 32)))
}

func public(n byte) ed25519.PublicKey { return key(n).Public().(ed25519.PublicKey) }

// A checkpoint is a signed note that others' programs open by the key that
// we print.
func TestCheckpoint(t *testing.T) {
	var tree history.Tree
	tree.Add(event(0))
	h := history.Head{Origin: "latchkey/00ff", Size: 1, Root: tree.Root()}
	text, err := h.Sign(key(1))
	if err != nil {
		t.Fatal(err)
	}
	vkey, err := history.VerifierKey(h.Origin, public(1))
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open([]byte(text), note.VerifierList(v))
	if want := "latchkey/00ff\n1\n" + tree.Root().String() + "\n"; err != nil || n.Text != want {
		t.Fatalf("the note says %q, %v, want %q", n.Text, err, want)
	}

	if got, err := history.Open(text, public(2), public(1)); err != nil || got != h {
		t.Errorf("Open = %+v, %v, want %+v", got, err, h)
	}
	two := must(history.Head{Origin: "latchkey/00ff/1", Size: 0}.Sign(key(1)))
	if got, err := history.ParseAll(text + two + text); err != nil || len(got) != 3 || got[0] != h || got[1].Origin != "latchkey/00ff/1" || got[2] != h {
		t.Errorf("ParseAll of three = %+v, %v", got, err)
	}
	for _, bad := range []string{"", "x", text[:20], text + "x\n— y z\n"} {
		if got, err := history.ParseAll(bad); err == nil {
			t.Errorf("ParseAll(%q) = %+v", bad, got)
		}
	}
	for name, row := range map[string]struct {
		text string
		want error
	}{
		"another key":      {must(h.Sign(key(3))), history.ErrUnsigned},
		"another size":     {strings.Replace(text, "\n1\n", "\n2\n", 1), history.ErrUnsigned},
		"another origin":   {strings.Replace(text, "latchkey/00ff\n", "latchkey/00fe\n", 1), history.ErrUnsigned},
		"no signature":     {text[:strings.Index(text, "— ")], history.ErrUnsigned},
		"a size like 01":   {strings.Replace(text, "\n1\n", "\n01\n", 1), nil},
		"a root too short": {strings.Replace(text, tree.Root().String(), "AAAA", 1), nil},
		"nothing":          {"", nil},
	} {
		_, err := history.Open(row.text, public(1), public(2))
		if err == nil || row.want != nil && !errors.Is(err, row.want) {
			t.Errorf("%s: Open = %v, want %v", name, err, row.want)
		}
	}
}

func must(s string, err error) string {
	if err != nil {
		panic(err)
	}
	return s
}

// A proof is a file that says all that its verifier needs but the key.
func TestProofFile(t *testing.T) {
	var none history.Tree
	span, tree := history.From(none), none
	for i := range 5 {
		tree.Add(event(i))
		if err := span.Add(event(i)); err != nil {
			t.Fatal(err)
		}
	}
	checkpoint := must(history.Head{Origin: "o", Size: 5, Root: tree.Root()}.Sign(key(1)))
	hashes, err := span.Inclusion(3)
	if err != nil {
		t.Fatal(err)
	}
	text := history.Proof{Event: event(3), Index: 3, Hashes: hashes, Checkpoint: checkpoint}.String()
	p, err := history.ParseProof(text)
	if err != nil {
		t.Fatal(err)
	}
	h, err := history.Open(p.Checkpoint, public(1))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Verify(h); err != nil || string(p.Event) != string(event(3)) {
		t.Errorf("Verify of %q = %v", p.Event, err)
	}
	p.Event = event(2)
	if err := p.Verify(h); !errors.Is(err, history.ErrSwapped) {
		t.Errorf("Verify of another event = %v, want %v", err, history.ErrSwapped)
	}
	for _, bad := range []string{"", "c2sp.org/tlog-proof@v1\n\n" + checkpoint, strings.Replace(text, "index 3", "index -3", 1), strings.Replace(text, "extra ", "extra !", 1), strings.Replace(text, hashes[0].String(), "x", 1)} {
		if _, err := history.ParseProof(bad); err == nil {
			t.Errorf("ParseProof(%q) succeeded", bad)
		}
	}
}
