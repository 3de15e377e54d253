package history_test

import (
	"errors"
	"strings"
	"testing"

	"latchkey/kms/history"
	"latchkey/kms/history/witnesstest"
)

// A witness' key is taken as its operator publishes it, and only so.
func TestWitnessKey(t *testing.T) {
	w := witnesstest.Start(t)
	k, err := history.ParseWitnessKey(w.VKey)
	if err != nil || k.Name != "witness.example/w1" {
		t.Fatalf("ParseWitnessKey = %+v, %v", k, err)
	}
	log, err := history.VerifierKey("o", public(1))
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(w.VKey, "+")
	for name, bad := range map[string]string{
		"a log's key": log, "another id": parts[0] + "+00000000+" + strings.Join(parts[2:], "+"), "another name": "x" + w.VKey,
		"cut": w.VKey[:len(w.VKey)-4], "no name": w.VKey[len(parts[0]):], "nothing": "",
	} {
		if _, err := history.ParseWitnessKey(bad); err == nil {
			t.Errorf("%s: ParseWitnessKey(%q) succeeded", name, bad)
		}
	}
}

// A cosignature counts if the witness made it, for this checkpoint.
func TestCosigned(t *testing.T) {
	w := witnesstest.Start(t)
	k, err := history.ParseWitnessKey(w.VKey)
	if err != nil {
		t.Fatal(err)
	}
	var tree history.Tree
	one := must(history.Head{Origin: "o", Size: 0, Root: tree.Root()}.Sign(key(1)))
	tree.Add(event(0))
	two := must(history.Head{Origin: "o", Size: 1, Root: tree.Root()}.Sign(key(1)))
	text := func(checkpoint string) string { return checkpoint[:strings.Index(checkpoint, "\n\n")+1] }

	line := w.Cosign(text(two))
	if got, _, err := k.Cosigned(two, "— other AAAA\n"+line); err != nil || got != line {
		t.Errorf("Cosigned = %q, %v, want %q", got, err, line)
	}
	if _, _, err := k.Cosigned(two, w.Cosign(text(one))); !errors.Is(err, history.ErrNotCosigned) {
		t.Errorf("Cosigned of another checkpoint = %v, want %v", err, history.ErrNotCosigned)
	}
	if _, err := history.Open(two+line, public(1)); err != nil {
		t.Errorf("a cosigned checkpoint: %v", err)
	}
}
