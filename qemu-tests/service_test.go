package qemutests

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience bounds every wait for a line, on a busy machine without KVM.
const patience = 120 * time.Second

// A transcript collects what a program says and lets others wait for it.
type transcript struct {
	mu     sync.Mutex
	text   bytes.Buffer
	read   int // how far a waiter has looked: lines are matched in order
	closed bool
	more   chan struct{} // closed and replaced at each change
	copyTo *os.File
}

func newTranscript(copyTo *os.File) *transcript {
	return &transcript{more: make(chan struct{}), copyTo: copyTo}
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text.Write(p)
	if t.copyTo != nil {
		t.copyTo.Write(p)
	}
	close(t.more)
	t.more = make(chan struct{})
	return len(p), nil
}

func (t *transcript) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	close(t.more)
	t.more = make(chan struct{})
}

// wait returns the submatches of the next place that matches.
func (t *transcript) wait(re *regexp.Regexp, limit time.Duration) ([]string, error) {
	deadline := time.After(limit)
	for {
		t.mu.Lock()
		rest := t.text.Bytes()[t.read:]
		if re.NumSubexp() > 0 { // half a line would give half a value
			rest = rest[:bytes.LastIndexByte(rest, '\n')+1]
		}

		if loc := re.FindSubmatchIndex(rest); loc != nil {
			var found []string
			for i := 0; i < len(loc); i += 2 {
				if loc[i] < 0 {
					found = append(found, "")
					continue
				}
				found = append(found, string(rest[loc[i]:loc[i+1]]))
			}
			t.read += loc[1]
			t.mu.Unlock()
			return found, nil
		}

		closed, more := t.closed, t.more
		tail := string(rest[max(0, len(rest)-3000):])
		t.mu.Unlock()
		if closed {
			return nil, fmt.Errorf("ended without a match for %q; its last lines:\n%s", re, tail)
		}

		select {
		case <-more:
		case <-deadline:
			return nil, fmt.Errorf("no match for %q in %s; its last lines:\n%s", re, limit, tail)
		}
	}
}

func (t *transcript) contains(re *regexp.Regexp) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return re.Match(t.text.Bytes())
}

// A service is a program that runs beside the machine.
type service struct {
	cmd  *exec.Cmd
	out  *transcript
	done chan struct{}
}

func startService(dir, name string, cmd *exec.Cmd, env []string) (*service, error) {
	log, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}

	s := &service{cmd: cmd, out: newTranscript(log), done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr, cmd.Env, cmd.Dir = s.out, s.out, env, dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}

	go func() {
		cmd.Wait()
		s.out.end()
		log.Close()
		close(s.done)
	}()

	return s, nil
}

// stop asks the program to end, and ends it if it does not.
func (s *service) stop() {
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(5 * time.Second):
		s.cmd.Process.Kill()
		<-s.done
	}
}

func (w *world) start(ts *testscript.TestScript, name, ready string, cmd *exec.Cmd) {
	if w.running[name] != nil {
		ts.Fatalf("%s runs already", name)
	}
	env := append(os.Environ(), "PATH="+ts.Getenv("PATH"), "HOME="+w.dir)
	s, err := startService(w.dir, name, cmd, env)
	ts.Check(err)
	w.running[name] = s
	if ready == "" {
		return
	}
	if _, err := s.out.wait(regexp.MustCompile(ready), 20*time.Second); err != nil {
		ts.Fatalf("%s: %v", name, err)
	}
}

func (w *world) stop(ts *testscript.TestScript, name string, kill bool) {
	s := w.running[name]
	if s == nil {
		ts.Fatalf("%s does not run", name)
	}
	if kill {
		s.cmd.Process.Kill()
		<-s.done
	} else {
		s.stop()
	}
	delete(w.running, name)
}

// dhcp start|stop: dnsmasq on the LAN, addresses 192.0.2.100 and up.
func cmdDHCP(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if len(args) < 1 {
		ts.Fatalf("usage: dhcp start|stop [dnsmasq options]")
	}

	if args[0] == "stop" {
		w.stop(ts, "dhcp", false)
		return
	}

	flags := append([]string{
		"--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=br0", "--bind-interfaces",
		"--dhcp-authoritative", "--no-ping", "--log-dhcp", "--log-facility=-",
		"--user=root", "--pid-file=", "--dhcp-leasefile=" + filepath.Join(w.dir, "leases"),
	}, args[1:]...)
	if len(args) == 1 {
		flags = append(flags, "--dhcp-range=192.0.2.100,192.0.2.150,255.255.255.0,1h")
	}

	w.start(ts, "dhcp", "DHCP.*, (IP range|static leases)", w.lan.command("dnsmasq", flags...))
}

// kms init|start|stop|kill: the key server on the LAN's host side, its
// state in $KMS_DATA. "kms start ARGS" passes further flags to serve.
func cmdKMS(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if len(args) < 1 {
		ts.Fatalf("usage: kms start|stop|kill [flags of serve]")
	}

	data := ts.Getenv("KMS_DATA")
	switch args[0] {
	case "init":
		w.initKMS(ts, data)
	case "start":
		if _, err := os.Stat(data); err != nil {
			w.initKMS(ts, data)
		}
		flags := append([]string{"serve", "--data", data, "--listen", ":7741"}, args[1:]...)
		w.start(ts, "kms", "listening on", w.lan.command(filepath.Join(w.shared.bin, "latchkey-kms"), flags...))

	case "stop", "kill":
		w.stop(ts, "kms", args[0] == "kill")
	default:
		ts.Fatalf("kms: there is no %q", args[0])
	}
}

func (w *world) initKMS(ts *testscript.TestScript, data string) {
	out, err := exec.Command(filepath.Join(w.shared.bin, "latchkey-kms"), "init", "--data", data).CombinedOutput()
	if err != nil {
		ts.Fatalf("latchkey-kms init: %v: %s", err, out)
	}
}

// responder start|stop: advertises kms.local at 192.0.2.1:7741.
func cmdResponder(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if len(args) < 1 {
		ts.Fatalf("usage: responder start|stop [flags]")
	}
	if args[0] == "stop" {
		w.stop(ts, "responder", false)
		return
	}
	flags := args[1:]
	if !strings.Contains(strings.Join(flags, " "), "--host") {
		flags = append([]string{"--host", "kms.local", "--target", "192.0.2.1:7741", "--interface", "br0"}, flags...)
	}
	w.start(ts, "responder", "announced|ready|answering", w.lan.command(filepath.Join(w.shared.bin, "latchkey-responder"), flags...))
}
