package server_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/kms/page"
	"latchkey/kms/server/lk1"
)

// guess is wrong words of somebody with a link.
func (f *fixture) guess(link string) error {
	_, err := f.clicks(link, "one two three four five six")
	return err
}

// overs is how often the log says that the links of a machine are over.
func (f *fixture) overs() (n int) {
	for _, e := range f.log() {
		if e.Event == "link over" && e.Status == "pending" {
			n++
		}
	}
	return n
}

// A machine and a hook have one link at a time: a newer one ends the older one
// and takes its wrong words over, so that notices make no guesses.
func TestLinkIsOneAtATime(t *testing.T) {
	f := newKMS(t)
	node, second := newTPM(t), newTPM(t)
	f.mustPend(node)
	words := node.NodeID().Words()
	other := lk1.Holder{Hook: "another"}
	older, others := f.link(node, phone), f.link(node, other)
	if err := f.guess(older); err == nil {
		t.Fatal("wrong words")
	}
	newer := f.link(node, phone)
	if _, err := f.clicks(older, words); err == nil || f.isApproved(node) {
		t.Errorf("a link that a newer one followed: %v", err)
	}
	for range 2 {
		if err := f.guess(newer); err == nil {
			t.Fatal("wrong words")
		}
	}
	if _, err := f.clicks(newer, words); err == nil || f.isApproved(node) {
		t.Errorf("the right words after three wrong ones of two links: %v", err)
	}
	if link, err := f.NewLink(ctx, node.NodeID().String(), phone); link != "" || err != nil {
		t.Errorf("a link after three wrong words: %q, %v", link, err)
	}
	if _, err := f.get(second, data); code(err) != "pending" {
		t.Fatal(err)
	}
	f.link(second, phone) // another machine's are its own
	if _, err := f.clicks(others, words); err != nil || !f.isApproved(node) {
		t.Errorf("another hook's link: %v", err)
	}
}

// When the links of a machine are over, dead or too old, and it goes on asking,
// the log says so, and then there may be others: once in ten minutes.
func TestLinkAfterALink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newKMS(t, inMemory)
		node, none := newTPM(t), newTPM(t)
		f.mustPend(node)
		dead := f.link(node, phone)
		for range 3 {
			if err := f.guess(dead); err == nil {
				t.Fatal("wrong words")
			}
		}
		asks := func(after time.Duration, want int) {
			t.Helper()
			time.Sleep(after)
			for range 3 {
				f.mustPend(node)
				f.mustPend(none) // which never had a link
			}
			if n := f.overs(); n != want {
				t.Errorf("after %s more the log says %d times that links are over, want %d", after, n, want)
			}
		}
		asks(time.Second, 0)
		asks(9*time.Minute, 0)
		asks(time.Minute, 1)
		f.link(node, phone)
		asks(9*time.Minute, 1)
		asks(time.Minute, 2)
		asks(time.Minute, 2)
		// The machine was off for hours, and other links were made.
		time.Sleep(3 * time.Hour)
		f.mustPend(none)
		f.link(none, phone)
		asks(time.Second, 3)
		good := f.link(node, phone)
		if _, err := f.clicks(good, node.NodeID().Words()); err != nil || !f.isApproved(node) {
			t.Errorf("the link after the links: %v", err)
		}
	})
}

// A link of an earlier process, whose clock it went by, is over; who had it is
// told of the machine again.
func TestLinkOfAnEarlierProcess(t *testing.T) {
	f := newKMS(t)
	node := newTPM(t)
	f.mustPend(node)
	link := f.link(node, phone)
	f.restart()
	if _, err := f.LookByLink(ctx, link); err == nil {
		t.Error("a link is good after a restart")
	}
	f.Ledger.Step(11 * time.Minute)
	f.mustPend(node)
	if n := f.overs(); n != 1 {
		t.Errorf("the log says %d times that links are over, want 1", n)
	}
}

// Nothing in its form is said twice, nor in its address.
func TestLinkTakesNothingTwice(t *testing.T) {
	l := newPages(t, nil)
	node := newTPM(t)
	l.mustPend(node)
	b, path, typed := l.browser(nil), page.LinkPath+l.link(node, phone), node.NodeID().Words()
	_, text := b.get(path)
	shown := linkShown.FindStringSubmatch(text)[1]
	for _, twice := range []url.Values{{"words": {typed, "x"}, "shown": {shown}}, {"words": {typed}, "shown": {shown, shown}}} {
		if status, text := b.post(path, twice); status != http.StatusBadRequest || !strings.Contains(text, "is said 2 times") || l.isApproved(node) {
			t.Errorf("%v: status %d, %s", twice, status, text)
		}
	}
	if status, text := b.post(path+"?words=x", url.Values{"words": {typed}, "shown": {shown}}); status != http.StatusBadRequest || l.isApproved(node) {
		t.Errorf("words in the address, too: status %d, %s", status, text)
	}
	if status, text := b.post(path, url.Values{"words": {typed}, "shown": {shown}}); status != 200 || !l.isApproved(node) {
		t.Errorf("said once: status %d, %s", status, text)
	}
}
