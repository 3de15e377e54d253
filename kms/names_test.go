package kms_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"latchkey/kms"
)

func TestWords(t *testing.T) {
	id := kms.NodeIDOf([]byte("an EK"))
	const want = "penny dozen flavor economy tribune ether"
	if got := id.Words(); got != want {
		t.Errorf("Words = %q, want %q", got, want)
	}
	if other := kms.NodeIDOf([]byte("another EK")).Words(); other == id.Words() {
		t.Error("two nodes have the same words")
	}
}

// The list has 2,048 words, and no slip of one letter makes one into
// another.
func TestWordList(t *testing.T) {
	text, err := os.ReadFile("words.txt")
	if err != nil {
		t.Fatal(err)
	}

	words := strings.Fields(string(text))
	if len(words) != 2048 || !slices.IsSorted(words) {
		t.Fatalf("%d words, want 2,048 in order", len(words))
	}

	slips := map[string]string{}
	for _, w := range words {
		if strings.Trim(w, "abcdefghijklmnopqrstuvwxyz") != "" || len(w) < 5 || len(w) > 7 {
			t.Errorf("%q has other than 5 to 7 small letters", w)
		}
		for i := range w { // a letter replaced, or left out
			replaced := w[:i] + "?" + w[i+1:]
			if other, taken := slips[replaced]; taken {
				t.Errorf("%q and %q are one slip apart", w, other)
			}
			slips[replaced] = w
			if shorter := w[:i] + w[i+1:]; slices.Contains(words, shorter) {
				t.Errorf("%q and %q are one slip apart", w, shorter)
			}
		}
	}
}

func TestPins(t *testing.T) {
	good := kms.Pin(fill(1, 32))
	if got, err := kms.ParsePin(good.String()); err != nil || got != good {
		t.Errorf("ParsePin(%q) = %v, %v", good, got, err)
	}
	for _, in := range []string{"", "lk1:", "lk1:AAAA", strings.TrimPrefix(good.String(), "lk1:"), good.String() + "A", "lk2:" + good.String()[4:], good.String() + "\n", strings.TrimSuffix(good.String(), "=")} {
		if _, err := kms.ParsePin(in); err == nil {
			t.Errorf("ParsePin(%q) succeeded", in)
		}
	}
}

func TestUUIDs(t *testing.T) {
	const good = "8b7f0000-0000-4000-8000-00000000000a"
	for _, in := range []string{good, strings.ToUpper(good)} {
		if u, err := kms.ParseUUID(in); err != nil || u.String() != good {
			t.Errorf("ParseUUID(%q) = %v, %v", in, u, err)
		}
	}
	for _, in := range []string{"00000000-0000-0000-0000-000000000000", "", "8b7f", strings.ReplaceAll(good, "-", ""), good + "0", "8b7f0000-0000-4000-80000-0000000000a", strings.Replace(good, "a", "g", 1), "{" + good + "}"} {
		if _, err := kms.ParseUUID(in); err == nil {
			t.Errorf("ParseUUID(%q) succeeded", in)
		}
	}
}

func TestStatusCodesAreDistinct(t *testing.T) {
	seen := map[string]bool{}
	for s := kms.OK; s <= kms.TableFull; s++ {
		if c := s.Code(); c == "unknown" || seen[c] {
			t.Errorf("status %d has code %q", s, c)
		}
		seen[s.Code()] = true
	}
	if got := kms.Status(0).Code(); got != "unknown" {
		t.Errorf("status 0 has code %q", got)
	}
}
