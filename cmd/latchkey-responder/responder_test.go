package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"latchkey/discover"
	"latchkey/internal/testlan"
)

// runEnv makes this test program the command itself.
const runEnv = "LATCHKEY_TEST_RUN"

func TestMain(m *testing.M) {
	if os.Getenv(runEnv) != "" {
		main()
		return
	}
	if at := os.Getenv(serveEnv); at != "" {
		panic(serve(at))
	}
	testlan.Main(m)
}

// responder is a command line of the responder, behind env(1) with these
// variables.
func responder(t testing.TB, env []string, args ...string) []string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Concat([]string{runEnv + "=1"}, env, []string{exe}, args)
}

// Each row is a mistake: exit 64 and one line.
func TestUsage(t *testing.T) {
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "targets")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, row := range []struct {
		name string
		args []string
		says string
	}{
		{"nothing", nil, "--target is missing"},
		{"unknown flag", []string{"--color"}, "unknown flag"},
		{"an argument", []string{"kms.local"}, "unknown command"},
		{"target without port", []string{"--target", "192.0.2.5"}, "ADDRESS:PORT"},
		{"target with port 0", []string{"--target", "192.0.2.5:0"}, "ADDRESS:PORT"},
		{"target is a name", []string{"--target", "kms.example.org:8443"}, "ADDRESS:PORT"},
		{"target is multicast", []string{"--target", "224.0.0.1:1"}, "not the address of a host"},
		{"host is not local", []string{"--host", "kms.example.org", "--target", "192.0.2.5:1"}, "kms.local"},
		{"bad service", []string{"--target", "192.0.2.5:1", "--service", "latchkey"}, "_latchkey._tcp"},
		{"bad check", []string{"--target", "192.0.2.5:1", "--check", "ping"}, "http, tcp or off"},
		{"checks too often", []string{"--target", "192.0.2.5:1", "--check-every", "1ms"}, "one second"},
		{"two sources", []string{"--target", "192.0.2.5:1", "--targets", "x"}, "mutually exclusive"},
		{"no such file", []string{"--targets", "/nonexistent"}, "no such file"},
		{"empty file", []string{"--targets", file("# nothing\n")}, "names no target"},
		{"bad line", []string{"--targets", file("kms.local 192.0.2.5:1\nkms.local\n")}, "targets:2: want HOST"},
		{"bad address in a file", []string{"--targets", file("kms.local 192.0.2.5\n")}, "targets:1: target"},
		{"two clusters' objects", []string{"--kubernetes-service", "a/b", "--kubernetes-ingress", "a/b"}, "mutually exclusive"},
		{"no link name", []string{"--target", "192.0.2.5:1", "--interface", "eth["}, "--interface"},
		{"too many targets", slices.Concat(slices.Repeat([]string{"--target", "192.0.2.5:1"}, 33), []string{"--host", "a.local,b.local"}), "make 66, the limit is 64"},
		{"too much text", slices.Concat([]string{"--target", "192.0.2.5:1"}, slices.Repeat([]string{"--txt", strings.Repeat("x", 250)}, 6)), "limit"},
		{"empty host", []string{"--target", "192.0.2.5:1", "--host", ""}, "--host"},
		{"bad Ingress", []string{"--kubernetes-ingress", "x/y/z"}, "NAMESPACE/NAME"},
		{"bad Service", []string{"--kubernetes-service", "x"}, "NAMESPACE/NAME"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var stderr bytes.Buffer
			cmd := exec.Command("env", responder(t, nil, row.args...)...)
			cmd.Stderr = &stderr
			err := cmd.Run()
			if code := cmd.ProcessState.ExitCode(); code != 64 {
				t.Errorf("exit %d (%v), want 64", code, err)
			}
			if text := stderr.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, row.says) {
				t.Errorf("stderr %q, want one line with %q", text, row.says)
			}
		})
	}
}

func TestHelpTeaches(t *testing.T) {
	out, err := exec.Command("env", responder(t, nil, "--help")...).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"only a hint", "latchkey-responder --host kms.local --target 192.0.2.5:7741", "--interface", "status"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("help lacks %q", want)
		}
	}
}

// A lan is a machine that runs the responder, and a finder here.
type lan struct {
	*testlan.Peer
	t      *testing.T
	finder *discover.Finder
}

func newLAN(t *testing.T, q discover.Query) lan {
	t.Helper()
	testlan.Need(t)
	peer := testlan.NewPeer(t)
	peer.Connect("eth0", "lan0")
	peer.Run("ip", "addr", "add", "192.0.2.1/24", "dev", "lan0")
	peer.Run("ip", "link", "set", "lan0", "up")
	testlan.Run(t, "ip", "addr", "add", "192.0.2.10/24", "dev", "eth0")
	testlan.Run(t, "ip", "link", "set", "eth0", "up")
	f, err := discover.NewFinder(q, discover.System{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { f.Run(ctx); close(done) }()
	go discover.WatchInterfaces(ctx, []string{"eth0"}, f.Update)
	t.Cleanup(func() { cancel(); <-done })
	return lan{peer, t, f}
}

// find returns the next candidate's address, or "none" after d.
func (l lan) find(d time.Duration) string {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	c, err := l.finder.Next(ctx)
	if err != nil {
		return "none"
	}
	l.finder.SetAside(c, time.Millisecond)
	return c.Addr.String()
}

// finds waits until a candidate is found.
func (l lan) finds(t *testing.T, want string) {
	t.Helper()
	testlan.Await(t, want, func() bool { return l.find(50*time.Millisecond) == want })
}

var byName = discover.Query{URLs: []string{"http://kms.local:8443"}}

// Without a terminal: ready is told to the service manager, SIGTERM ends
// it with a goodbye and exit 0.
func TestService(t *testing.T) {
	l := newLAN(t, byName)
	dir := t.TempDir()
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dir + "/notify", Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	cmd := l.Command("env", responder(t, []string{"NOTIFY_SOCKET=" + dir + "/notify"}, "--target", "192.0.2.5:8443", "--check", "off")...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}

	manager.SetReadDeadline(time.Now().Add(5 * time.Second))
	buf := make([]byte, 100)
	if n, err := manager.Read(buf); err != nil || string(buf[:n]) != "READY=1" {
		t.Errorf("the service manager heard %q, %v, want READY=1", buf[:n], err)
	}
	if got := l.find(10 * time.Second); got != "192.0.2.5:8443" {
		t.Errorf("found %s, want 192.0.2.5:8443", got)
	}

	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v, want exit 0\n%s", err, stderr.String())
	}
	testlan.Await(t, "the goodbye", func() bool { return l.find(50*time.Millisecond) == "none" })
}

// A dead KMS is not announced; it is when it comes, and no more when it
// has gone.
func TestHealth(t *testing.T) {
	l := newLAN(t, byName)
	listener, err := net.Listen("tcp", "192.0.2.10:0")
	if err != nil {
		t.Fatal(err)
	}

	addr := listener.Addr().String()
	listener.Close()
	l.Start("env", responder(t, nil, "--target", addr, "--check-every", "1s", "--listen", "127.0.0.1:9741")...)
	want := "192.0.2.10:8443" // the port is that of the URL
	if got := l.find(3 * time.Second); got != "none" {
		t.Errorf("a dead KMS is found: %s", got)
	}

	if out, err := l.Command("env", responder(t, nil, "status")...).CombinedOutput(); err == nil || !strings.Contains(string(out), "nothing is announced") || !strings.Contains(string(out), "down") {
		t.Errorf("status = %v, %s, want an error that nothing is announced", err, out)
	}
	if listener, err = net.Listen("tcp", addr); err != nil {
		t.Fatal(err)
	}

	server := &http.Server{Handler: http.NotFoundHandler()}
	go server.Serve(listener)
	if got := l.find(10 * time.Second); got != want {
		t.Errorf("with the KMS there: %s, want %s", got, want)
	}
	out := l.Run("env", responder(t, nil, "status")...)
	for _, w := range []string{"kms.local", "up", "queries"} {
		if !strings.Contains(out, w) {
			t.Errorf("status lacks %q:\n%s", w, out)
		}
	}

	if out := l.Run("env", responder(t, nil, "status", "--json")...); !json.Valid([]byte(out)) {
		t.Errorf("status --json = %s, want JSON", out)
	}
	server.Close()
	testlan.Await(t, "the goodbye for the dead KMS", func() bool { return l.find(50*time.Millisecond) == "none" })
}

func TestTargetsFile(t *testing.T) {
	l := newLAN(t, discover.Query{URLs: []string{"http://one.local", "http://two.local:1"}})
	path := filepath.Join(t.TempDir(), "targets")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path+"~", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+"~", path); err != nil {
			t.Fatal(err)
		}
	}

	write("one.local 192.0.2.5:8443  # the first\n")
	l.Start("env", responder(t, nil, "--targets", path, "--check", "off")...)
	if got := l.find(10 * time.Second); got != "192.0.2.5:7741" {
		t.Errorf("found %s, want 192.0.2.5:7741", got)
	}
	write("two.local not-an-address\n") // changes nothing
	write("two.local 192.0.2.6:8443 _kcrypt._tcp\n")
	testlan.Await(t, "the new target", func() bool { return l.find(50*time.Millisecond) == "192.0.2.6:1" })

	testlan.Await(t, "the end of the old one", func() bool {
		for range 4 {
			if l.find(50*time.Millisecond) == "192.0.2.5:7741" {
				return false
			}
		}
		return true
	})
}
