package hook_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/kms/server/hook"
)

var pending = hook.Notice{Seq: 7, Event: "get", Status: "pending", Reason: "enrollment", Node: "ab12", Words: "copper lantern drift meadow quiet anvil", From: "192.0.2.7", Link: "https://kms.example.org/machines/6f"}

// start runs one hook until the test ends; its log is returned.
func start(t *testing.T, target hook.Target, on ...string) (*hook.Set, func() string) {
	t.Helper()
	var mu sync.Mutex
	var log strings.Builder
	write := writer(func(b []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return log.Write(b)
	})

	set := hook.Start([]hook.Hook{{Target: target, On: on}}, slog.New(slog.NewTextHandler(write, nil)))
	t.Cleanup(set.Stop)
	return set, func() string {
		mu.Lock()
		defer mu.Unlock()
		return log.String()
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

func wait[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was told")
		panic("unreachable")
	}
}

// A redirect is not followed, and not tried again; nor is a refusal.
func TestWebThatIsNotToldAgain(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	defer other.Close()
	for _, status := range []int{http.StatusTemporaryRedirect, http.StatusForbidden} {
		asked := make(chan struct{}, 8)
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", other.URL)
			w.WriteHeader(status)
			asked <- struct{}{}
		}))

		target, err := hook.NewWeb(web.URL+"?token=canary", signer(t, firstKey))
		if err != nil {
			t.Fatal(err)
		}

		set, log := start(t, target, "get")
		set.Tell(pending)
		wait(t, asked)
		set.Tell(pending)
		wait(t, asked) // so the first one was given up
		web.Close()
		if text := log(); !strings.Contains(text, "attempts=1") || strings.Contains(text, "canary") {
			t.Errorf("status %d: log %q", status, text)
		}
	}
}

// A hook is told what it names, by event, status or rule; faults/kms.md L: or
// all.
func TestOn(t *testing.T) {
	for _, row := range []struct {
		name string
		on   []string
		want string // sequence numbers
	}{
		{"by status", []string{"pending"}, "1"},
		{"by event", []string{"approve"}, "2"},
		{"by rule", []string{"window"}, "3"},
		{"several", []string{"approve", "window"}, "23"},
		{"all", []string{hook.All}, "123"},
	} {
		told := make(chan hook.Notice, 8)
		web := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			var payload struct{ Data hook.Notice }
			if err := json.NewDecoder(r.Body).Decode(&payload); err != nil {
				t.Error(err)
			}
			told <- payload.Data
		}))
		target, err := hook.NewWeb(web.URL, signer(t, firstKey))
		if err != nil {
			t.Fatal(err)
		}
		set, _ := start(t, target, append(row.on, "end")...)
		for _, n := range []hook.Notice{{Seq: 1, Event: "get", Status: "pending"}, {Seq: 2, Event: "approve"}, {Seq: 3, Event: "get", Reason: "window"}, {Seq: 9, Event: "end"}} {
			set.Tell(n)
		}

		got := ""
		for n := wait(t, told); n.Event != "end"; n = wait(t, told) {
			got += strconv.FormatUint(n.Seq, 10)
		}
		if got != row.want {
			t.Errorf("%s: a hook on %v was told %s, want %s", row.name, row.on, got, row.want)
		}
		web.Close()
	}
}

// A hook that hangs makes nobody wait; what is too much is dropped and said
// to be.
func TestSlowHookBlocksNobody(t *testing.T) {
	release := make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer web.Close()
	defer close(release)
	target, err := hook.NewWeb(web.URL, signer(t, firstKey))
	if err != nil {
		t.Fatal(err)
	}

	set, log := start(t, target, "get")
	began := time.Now()
	for range 1000 {
		set.Tell(pending)
	}
	if d := time.Since(began); d > time.Second {
		t.Errorf("1,000 notices took %s", d)
	}

	if !strings.Contains(log(), "a notice is dropped") {
		t.Error("nothing was said of what was dropped")
	}
}

// script writes a program of the test.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hook")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// waitFile waits for a file that a program renames into place.
func waitFile(t *testing.T, path string) string {
	t.Helper()
	var text string
	waitFor(t, func() bool {
		b, err := os.ReadFile(path)
		text = string(b)
		return err == nil
	})
	return text
}

// waitFor looks until something holds.
func waitFor(t *testing.T, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("what was waited for did not come")
		}
	}
}

// A program gets the notice on its input, its fields in the environment,
// its arguments as they are, and nothing of ours.
func TestProgram(t *testing.T) {
	t.Setenv("KMS_SECRET", "canary")
	out := filepath.Join(t.TempDir(), "out")
	path := script(t, `{ cat; echo; echo "$1"; env; pwd; } > `+out+`.new; mv `+out+`.new `+out)
	target, err := hook.NewProgram([]string{path, "a b; $(id)"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}

	set, _ := start(t, target, "pending")
	set.Tell(pending)
	text := waitFile(t, out)
	for _, want := range []string{`"words":"copper lantern drift meadow quiet anvil"`, "\na b; $(id)\n", "LATCHKEY_STATUS=pending", "LATCHKEY_FROM=192.0.2.7", "LATCHKEY_LINK=https://kms.example.org/machines/6f", "\n/\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("the program saw no %q in %q", want, text)
		}
	}

	if strings.Contains(text, "canary") {
		t.Error("the program saw our environment")
	}
}

// A program that hangs is killed with all that it started, and the next
// notice is told.
func TestProgramThatHangs(t *testing.T) {
	dir := t.TempDir()
	path := script(t, fmt.Sprintf(`if [ "$LATCHKEY_EVENT" = hang ]; then sleep 300 & echo $! > %[1]s/pid.new; mv %[1]s/pid.new %[1]s/pid; wait; fi; echo done > %[1]s/done`, dir))
	target, err := hook.NewProgram([]string{path}, 300*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}

	set, log := start(t, target, "hang", "next")
	set.Tell(hook.Notice{Event: "hang"})
	set.Tell(hook.Notice{Event: "next"})
	waitFile(t, dir+"/done")
	if !strings.Contains(log(), "it ran for longer than 300ms") {
		t.Errorf("log %q", log())
	}

	pid := strings.TrimSpace(waitFile(t, dir+"/pid"))
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		state, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || strings.Contains(string(state), ") Z ") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("what the program started still runs: %s", state)
		}
	}
}

func TestTargetsThatAreNone(t *testing.T) {
	for _, u := range []string{"", "ftp://host/x", "https://", "host/path", "https://user:word@host/"} {
		if _, err := hook.NewWeb(u, signer(t, firstKey)); err == nil {
			t.Errorf("NewWeb(%q) took it", u)
		}
	}

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}

	for _, argv := range [][]string{nil, {"sh"}, {"/nowhere"}, {"/"}, {file}} {
		if _, err := hook.NewProgram(argv, time.Second); err == nil {
			t.Errorf("NewProgram(%q) took it", argv)
		}
	}

	if _, err := hook.NewProgram([]string{"/bin/sh"}, 0); err == nil {
		t.Error("no timeout was taken")
	}
}
