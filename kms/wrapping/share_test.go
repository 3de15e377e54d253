package wrapping_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/internal/secret"
	"latchkey/kms/wrapping"
)

// made makes a set of shares of a key, and the file of their material.
func made(t *testing.T, key secret.Bytes, needed, of int) (texts []string, material string) {
	t.Helper()
	d := &wrapping.Shares{Needed: needed, Of: of, Hand: func(all []wrapping.Share) error {
		for _, s := range all {
			texts = append(texts, s.Text())
		}
		return nil
	}}
	text, err := d.Wrap(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	material = kept(t, text)
	if back, err := d.Unwrap(t.Context(), material); err != nil || !back.Equal(key) {
		t.Fatalf("read back: %v, %v", back, err)
	}
	return texts, material
}

// gather begins to collect for these sets.
func gather(t *testing.T, first string, others ...string) *wrapping.Gathering {
	t.Helper()
	g, err := wrapping.Gather(first, others...)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// Every change of one character of a share is noticed, and what people do
// to one while they type it is not.
func TestShareText(t *testing.T) {
	texts, _ := made(t, secret.Random(wrapping.KeySize), 2, 3)
	text := texts[1]
	if len(text) != 4+12*7 || strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567-1") != "" {
		t.Errorf("a share is %q", text)
	}
	for _, form := range []string{text, strings.ToLower(text), strings.ReplaceAll(text, "-", ""), strings.ReplaceAll(text, "-", " ") + "\r\n", text[:30] + "\n" + text[30:]} {
		s, err := wrapping.ParseShare(form)
		if err != nil || s.Text() != text || s.Number != 2 || s.Needed != 2 {
			t.Errorf("ParseShare(%q) = %v, %v", form, s.Number, err)
		}
	}
	for i := range text {
		for _, c := range "AZ27-01" {
			wrong := text[:i] + string(c) + text[i+1:]
			if _, err := wrapping.ParseShare(wrong); err == nil && strings.ReplaceAll(wrong, "-", "") != strings.ReplaceAll(text, "-", "") {
				t.Errorf("ParseShare takes %q for %q", wrong, text)
			}
		}
	}
	for _, bad := range []string{"", "LKS1", "LKS2" + text[4:], text + "A", text[:len(text)-1], strings.Repeat("LKS1", 1<<20)} {
		if _, err := wrapping.ParseShare(bad); !errors.Is(err, wrapping.ErrNoShare) {
			t.Errorf("ParseShare(%.40q) = %v, want %v", bad, err, wrapping.ErrNoShare)
		}
	}
}

// Any three of five give the key, in any order, and who gave which is known.
func TestGather(t *testing.T) {
	key := secret.Random(wrapping.KeySize)
	texts, material := made(t, key, 3, 5)
	for _, order := range [][]int{{0, 1, 2}, {4, 2, 0}, {3, 4, 1}} {
		g := gather(t, material)
		for i, n := range order {
			select {
			case <-g.Whole():
				t.Fatalf("%d shares are enough", i)
			default:
			}
			if p, err := g.Give(texts[n], "person "+string(rune('a'+n))); err != nil || p.Have != i+1 || p.Need != 3 {
				t.Fatalf("Give(share %d) = %+v, %v", n+1, p, err)
			}
		}
		<-g.Whole()
		if _, err := g.Give(texts[order[0]], "late"); !errors.Is(err, wrapping.ErrShareTwice) {
			t.Errorf("a share that was given: %v", err)
		}
		got, path, by, err := g.Key()
		if err != nil || !got.Equal(key) || path != material || len(by) != 3 {
			t.Fatalf("Key = %v, %s, %+v, %v", got, path, by, err)
		}
		for _, one := range by {
			if one.Who != "person "+string(rune('a'+one.Number-1)) {
				t.Errorf("share %d is of %s", one.Number, one.Who)
			}
		}
	}
}

// A share that was made for another key is told from one that nobody made,
// and neither counts.
func TestWrongShares(t *testing.T) {
	key := secret.Random(wrapping.KeySize)
	texts, material := made(t, key, 2, 3)
	old, _ := made(t, key, 2, 3)
	g := gather(t, material)
	if _, err := g.Give(old[0], ""); !errors.Is(err, wrapping.ErrOtherSet) {
		t.Errorf("a share of another set: %v", err)
	}
	if _, err := g.Give(forged(t, texts[0]), ""); !errors.Is(err, wrapping.ErrWrongShare) {
		t.Errorf("a forged share: %v", err)
	}
	if p := g.Progress(); p.Have != 0 || p.Need != 2 {
		t.Errorf("Progress = %+v, want none", p)
	}
	if _, _, _, err := g.Key(); err == nil {
		t.Error("no share gives a key")
	}
	for _, bad := range []string{"", "{}", "x", `{"version":2,"set":"x","needed":2,"hashes":["a","b"]}`, `{"version":1,"set":"x","needed":1,"hashes":["a"]}`} {
		if _, err := wrapping.Gather(kept(t, []byte(bad))); err == nil {
			t.Errorf("Gather takes %q", bad)
		}
	}
}

// forged is a whole share of the same set whose secret part is another.
func forged(t *testing.T, text string) string {
	t.Helper()
	d := &wrapping.Shares{Needed: 2, Of: 3}
	var of wrapping.Share
	d.Hand = func(all []wrapping.Share) error { of = all[0]; return nil }
	if _, err := d.Wrap(t.Context(), secret.Random(wrapping.KeySize)); err != nil {
		t.Fatal(err)
	}
	real, err := wrapping.ParseShare(text)
	if err != nil {
		t.Fatal(err)
	}
	of.Set = real.Set
	return of.Text()
}

// Shares that are not completed are forgotten after ten minutes, each by
// itself.
func TestSharesAreForgotten(t *testing.T) {
	texts, material := made(t, secret.Random(wrapping.KeySize), 3, 3)
	synctest.Test(t, func(t *testing.T) {
		g := gather(t, material)
		g.Give(texts[0], "")
		time.Sleep(wrapping.ShareLife - time.Second)
		if p, err := g.Give(texts[1], ""); p.Have != 2 {
			t.Errorf("Give = %+v, %v", p, err)
		}
		time.Sleep(time.Second)
		if p := g.Progress(); p.Have != 1 {
			t.Errorf("Progress = %+v after ten minutes, want one share", p)
		}
		if p, err := g.Give(texts[0], ""); err != nil || p.Have != 2 {
			t.Errorf("giving it again = %+v, %v", p, err)
		}
		g.Give(texts[2], "")
		time.Sleep(wrapping.ShareLife)
		g.Expire()
		if _, _, _, err := g.Key(); err != nil {
			t.Errorf("a set that is complete was forgotten: %v", err)
		}
	})
}

// Of a change that was cut short both sets are taken, and the one that is
// complete gives its key.
func TestGatherTwoSets(t *testing.T) {
	one, two := secret.Random(wrapping.KeySize), secret.Random(wrapping.KeySize)
	old, material := made(t, one, 2, 2)
	fresh, next := made(t, two, 2, 2)
	g := gather(t, material, next, material+".none")
	g.Give(old[0], "")
	g.Give(fresh[0], "")
	g.Give(fresh[1], "")
	if got, path, _, err := g.Key(); err != nil || !got.Equal(two) || path != next {
		t.Errorf("Key = %v of %s, %v, want the new set's", got, path, err)
	}
	if _, err := g.Give(old[1], ""); err != nil { // completes the other one, too
		t.Error(err)
	}
	if _, err := wrapping.Gather(material+".none", material); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Gather without material = %v", err)
	}
}

// Without anybody to ask the key is away, and without anybody to hand them
// to no shares are made.
func TestSharesOfNobody(t *testing.T) {
	_, material := made(t, secret.Random(wrapping.KeySize), 3, 5)
	if _, err := (&wrapping.Shares{}).Unwrap(t.Context(), material); !errors.Is(err, wrapping.ErrAway) || !strings.Contains(err.Error(), "3 shares of set") {
		t.Errorf("Unwrap = %v, want that it is away", err)
	}
	if _, err := (&wrapping.Shares{Needed: 2, Of: 2}).Wrap(t.Context(), secret.Random(wrapping.KeySize)); err == nil || !strings.Contains(err.Error(), "wrapping change --to-shares") {
		t.Errorf("Wrap = %v", err)
	}
}
