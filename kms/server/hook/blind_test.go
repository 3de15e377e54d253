package hook_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"latchkey/kms/server/hook"
)

// listens is a web service, and the notices that it is told.
func listens(t *testing.T) (hook.Target, <-chan hook.Notice) {
	t.Helper()
	told := make(chan hook.Notice, 64)
	web := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var payload struct{ Data hook.Notice }
		if err := json.NewDecoder(r.Body).Decode(&payload); err != nil {
			t.Error(err)
		}
		told <- payload.Data
	}))
	t.Cleanup(web.Close)
	target, err := hook.NewWeb(web.URL, signer(t, firstKey))
	if err != nil {
		t.Fatal(err)
	}
	return target, told
}

// A hook with labels is told of the machines that have them, and of nothing
// that is no machine's; if nobody can tell, of nothing.
func TestHookOfLabels(t *testing.T) {
	target, told := listens(t)
	ours := func(n hook.Notice, labels []string) bool { return n.Node == "ours" && labels[0] == "site=oslo" }
	set := hook.Start([]hook.Hook{
		{Target: target, On: []string{hook.All}, Labels: []string{"site=oslo"}, Sees: ours},
		{Target: target, On: []string{hook.All}, Labels: []string{"site=oslo"}},
	}, slog.New(slog.DiscardHandler))
	defer set.Stop()
	for i, node := range []string{"another's", "", "ours", "another's", "ours"} {
		set.Tell(hook.Notice{Seq: uint64(i), Event: "approve", Node: node})
	}
	if first, second := wait(t, told), wait(t, told); first.Seq != 2 || second.Seq != 4 {
		t.Errorf("the hook was told of %+v and %+v", first, second)
	}
	if len(told) > 0 {
		t.Errorf("and of %+v", <-told)
	}
}

// Who approves by the words of a console is told no words, and nothing that
// words are made of; the notice of a machine that waits has a link instead.
func TestBlindHook(t *testing.T) {
	told := make(chan string, 8)
	web := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		told <- string(body)
	}))
	defer web.Close()
	for _, preset := range []string{"", hook.Ntfy, hook.Slack, hook.Teams} {
		var target hook.Target
		var err error
		if preset == "" {
			target, err = hook.NewWeb(web.URL, signer(t, firstKey))
		} else {
			target, err = hook.NewChat(preset, hook.Chat{URL: web.URL})
		}
		if err != nil {
			t.Fatal(err)
		}
		asked := 0
		set := hook.Start([]hook.Hook{{Target: target, On: []string{hook.All}, Blind: true, Link: func(_ context.Context, _ hook.Hook, n hook.Notice) (string, error) {
			asked++
			if n.Node != pending.Node {
				t.Errorf("a link of %+v", n)
			}
			return "https://kms.example.org/link/canary", nil
		}}}, slog.New(slog.DiscardHandler))
		approved := pending
		approved.Seq, approved.Event, approved.Status = 8, "approve", ""
		set.Tell(pending)
		set.Tell(approved)
		first, second := wait(t, told), wait(t, told)
		set.Stop()
		for _, text := range []string{first, second} {
			for _, secret := range []string{pending.Words, pending.Node, "copper", "/machines/"} {
				if strings.Contains(text, secret) {
					t.Errorf("%q: the notice has %q: %s", preset, secret, text)
				}
			}
		}
		if asked != 1 || preset != hook.Ntfy && !strings.Contains(first, "link/canary") || strings.Contains(second, "canary") {
			t.Errorf("%q: %d links; %s; %s", preset, asked, first, second)
		}
	}
}

// What a program prints when it fails is in the log, but not a link.
func TestBlindProgram(t *testing.T) {
	target, err := hook.NewProgram([]string{"/bin/sh", "-c", "echo \"cannot send $LATCHKEY_LINK to $LATCHKEY_FROM\"; exit 1"}, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	set, log := start(t, target, hook.All)
	set.Tell(pending)
	for range 200 {
		if strings.Contains(log(), "hook failed") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if text := log(); !strings.Contains(text, "cannot send (the link) to 192.0.2.7") || strings.Contains(text, pending.Link) {
		t.Errorf("the log is %s", text)
	}
}

// A machine whose links are over is told of to hooks that have links, and only
// with a new one: the others heard of it when it came.
func TestBlindHookAgain(t *testing.T) {
	target, told := listens(t)
	again := pending
	again.Event, again.Reason = "link over", "enrollment"
	for name, row := range map[string]struct {
		hook hook.Hook
		link string
		want bool
	}{
		"with links":                      {hook.Hook{On: []string{"pending"}, Blind: true}, "canary", true},
		"with links, on an event":         {hook.Hook{On: []string{"get"}, Blind: true}, "canary", true},
		"with links, on what is not that": {hook.Hook{On: []string{"approve"}, Blind: true}, "canary", false},
		"none can be made":                {hook.Hook{On: []string{"pending"}, Blind: true}, "", false},
		"without links":                   {hook.Hook{On: []string{"pending", "get"}}, "canary", false},
		"without links, on this":          {hook.Hook{On: []string{"link over"}}, "canary", true},
	} {
		row.hook.Target = target
		row.hook.Link = func(context.Context, hook.Hook, hook.Notice) (string, error) { return row.link, nil }
		set := hook.Start([]hook.Hook{row.hook}, slog.New(slog.DiscardHandler))
		set.Tell(again)
		end := hook.Notice{Seq: 99, Event: row.hook.On[0]}
		set.Tell(end)
		n := wait(t, told)
		if got := n.Seq != 99; got != row.want {
			t.Errorf("%s: told %v, want %v", name, got, row.want)
		}
		if n.Seq != 99 {
			if row.hook.Blind && (n.Link != "canary" || n.Words+n.Node != "") {
				t.Errorf("%s: %+v", name, n)
			}
			wait(t, told)
		}
		set.Stop()
	}
}
