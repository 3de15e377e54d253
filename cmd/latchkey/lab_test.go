package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// needChips says why software TPMs cannot be had, "" if they can.
func needChips() string {
	if _, err := exec.LookPath("swtpm"); err != nil {
		if os.Getenv("CI") != "" {
			panic("swtpm is needed in CI: run images/deps")
		}
		return "swtpm is not installed: run images/deps"
	}
	return ""
}

// buildKMS builds the key server, once.
var buildKMS = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "latchkey-kms")
	if err != nil {
		return "", err
	}
	kmsDir = dir
	out, err := exec.Command("go", "build", "-trimpath", "-o", dir, "latchkey/cmd/latchkey-kms").CombinedOutput()
	if err != nil {
		return dir, errors.New(string(out))
	}
	return dir, nil
})

// kmsDir is where the key server was built, "" if it was not.
var kmsDir string

// A suite is all tests; the key server is removed after them.
type suite struct{ *testing.M }

func (s suite) Run() int {
	defer func() { os.RemoveAll(kmsDir) }()
	return s.M.Run()
}

// A lab is what one script or test has: key servers and software TPMs.
type lab struct {
	dir     string
	running map[string]*exec.Cmd
}

type labKey struct{}

func (l *lab) close() {
	for _, c := range l.running {
		c.Process.Kill()
		c.Wait()
	}
}

func (l *lab) stop(name string, with syscall.Signal) error {
	c := l.running[name]
	if c == nil {
		return errors.New(name + " does not run")
	}
	delete(l.running, name)
	if err := c.Process.Signal(with); err != nil {
		return err
	}
	c.Wait() // how it ends is no matter
	return nil
}

// chip powers a software TPM on and returns its socket.
func (l *lab) chip(name string) (string, error) {
	state, socket := filepath.Join(l.dir, name), filepath.Join(l.dir, name+".sock")
	if err := os.MkdirAll(state, 0o700); err != nil {
		return "", err
	}

	os.Remove(socket)
	cmd := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+state,
		"--server", "type=unixio,path="+socket, "--ctrl", "type=unixio,path="+socket+".ctrl", "--flags", "not-need-init,startup-clear")
	if err := cmd.Start(); err != nil {
		return "", err
	}

	l.running[name] = cmd
	return socket, within(10*time.Second, func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// kms starts the key server and returns its URL.
func (l *lab) kms(data string, flags ...string) (string, error) {
	bin, err := buildKMS()
	if err != nil {
		return "", err
	}

	cmd := exec.Command(filepath.Join(bin, "latchkey-kms"), append([]string{"serve", "--data", data, "--listen", "127.0.0.1:0"}, flags...)...)
	cmd.Dir = l.dir // a configuration names files of the script
	log, err := os.OpenFile(filepath.Join(l.dir, "kms.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	defer log.Close()
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}

	if err := cmd.Start(); err != nil {
		return "", err
	}
	l.running["kms"] = cmd
	line, err := bufio.NewReader(out).ReadString('\n')
	return "http://" + strings.TrimSpace(strings.TrimPrefix(line, "listening on ")), err
}

// ask runs a latchkey-kms command.
func (l *lab) ask(data string, args ...string) ([]byte, error) {
	bin, err := buildKMS()
	if err != nil {
		return nil, err
	}
	out, err := exec.Command(filepath.Join(bin, "latchkey-kms"), append(args, "--data", data)...).Output()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		err = errors.New(string(e.Stderr))
	}
	return out, err
}

// approve waits for a machine that waits, and approves it.
func (l *lab) approve(data string, flags ...string) error {
	var nodes []struct{ State, Words string }
	err := within(30*time.Second, func() bool {
		out, err := l.ask(data, "node", "list", "--json")
		if err != nil || json.Unmarshal(out, &nodes) != nil {
			return false
		}
		return len(nodes) > 0 && nodes[0].State == "pending" // they come first
	})
	if err != nil {
		return err
	}
	// A software TPM that nothing booted has measured nothing.
	said, err := l.ask(data, append([]string{"node", "approve", nodes[0].Words, "--unmeasured"}, flags...)...)
	return errors.Join(err, os.WriteFile(filepath.Join(l.dir, "approved"), said, 0o600))
}

// within looks again and again until it is so.
func within(limit time.Duration, so func() bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); !so(); <-tick.C {
		if time.Now().After(end) {
			return errors.New("it is not so after " + limit.String())
		}
	}
	return nil
}

func labOf(ts *testscript.TestScript) *lab { return ts.Value(labKey{}).(*lab) }

// cmdKMS: kms start [flags] sets $URL and $PIN; kms stop; kms approve [flags].
func cmdKMS(ts *testscript.TestScript, neg bool, args []string) {
	l, data := labOf(ts), ts.Getenv("DATA")
	if len(args) == 0 {
		ts.Fatalf("usage: kms start|stop|approve")
	}
	switch args[0] {
	case "start":
		if _, err := os.Stat(data); err != nil {
			_, err := l.ask(data, "init")
			ts.Check(err)
		}
		url, err := l.kms(data, args[1:]...)
		ts.Check(err)
		trust, err := l.ask(data, "trust")
		ts.Check(err)
		_, pin, _ := strings.Cut(string(trust), `"`)
		pin, _, _ = strings.Cut(pin, `"`)
		ts.Setenv("URL", url)
		ts.Setenv("PIN", pin)

	case "stop":
		ts.Check(l.stop("kms", syscall.SIGTERM))
	case "approve":
		// Nothing measures the boots of these tests.
		ts.Check(l.approve(data, append(args[1:], "--unmeasured")...))
	default:
		ts.Fatalf("kms: there is no %q", args[0])
	}
}
