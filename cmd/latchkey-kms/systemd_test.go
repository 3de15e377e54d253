package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"latchkey/internal/cli"
)

// The units are right by systemd's own word, and their exposure is below
// 2.0 of 10. What is configured wrongly is not started again and again, and
// the key server's first start makes its keys; where AppArmor has a profile of that
// name, it is in force.
func TestUnits(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no systemd-analyze here: apt-get install systemd")
		}
		t.Skip("needs systemd-analyze")
	}

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}

	for _, name := range []string{"latchkey-kms", "latchkey-responder"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "images", "systemd", name+".service"))
		if err != nil {
			t.Fatal(err)
		}

		wanted := []string{"RestartPreventExitStatus=" + strconv.Itoa(cli.Usage), "AppArmorProfile=-" + name}
		if name == "latchkey-kms" {
			wanted = append(wanted, "ExecStartPre=-/usr/bin/latchkey-kms init --first-start --config /etc/latchkey/kms.yaml")
		}
		for _, line := range wanted {
			if !strings.Contains(string(text), "\n"+line+"\n") {
				t.Errorf("%s.service has no line %q", name, line)
			}
		}

		unit := filepath.Join(t.TempDir(), name+".service")
		here := strings.NewReplacer("=/usr/bin/"+name, "="+self, "=-/usr/bin/"+name, "=-"+self).Replace(string(text))
		if err := os.WriteFile(unit, []byte(here), 0o600); err != nil {
			t.Fatal(err)
		}

		for _, args := range [][]string{{"verify", "--man=no", unit}, {"security", "--offline=true", "--threshold=20", "--no-pager", unit}} {
			out, err := exec.Command("systemd-analyze", args...).CombinedOutput()
			if err != nil || args[0] == "verify" && len(out) > 0 {
				t.Errorf("systemd-analyze %s: %v\n%s", args[0], err, out)
			}
		}
	}
}

// What systemd is told: ready, that we live, reloading, stopping.
func TestNotify(t *testing.T) {
	dir := t.TempDir()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if code := run([]string{"init", "--data", dir + "/data"}, os.Stdin, devNull(t), devNull(t)); code != 0 {
		t.Fatalf("init ended with %d", code)
	}

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}

	cmd := exec.Command(self, "serve", "--data", dir+"/data", "--listen", "127.0.0.1:0")
	cmd.Args[0] = "latchkey-kms"
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+dir+"/notify", "WATCHDOG_USEC="+strconv.Itoa(60_000))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}

	want := func(state string) {
		t.Helper()
		conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		for b := make([]byte, 512); ; {
			n, err := conn.Read(b)
			if err != nil {
				t.Fatalf("waiting for %s: %v", state, err)
			}
			if strings.HasPrefix(string(b[:n]), state) {
				return
			}
		}
	}

	want("READY=1")
	want("WATCHDOG=1")
	want("WATCHDOG=1")
	cmd.Process.Signal(syscall.SIGHUP)
	want("RELOADING=1\nMONOTONIC_USEC=")
	want("READY=1")
	cmd.Process.Signal(syscall.SIGTERM)
	want("STOPPING=1")
	if err := cmd.Wait(); err != nil {
		t.Errorf("serve: %v", err)
	}
}

func devNull(t *testing.T) *os.File {
	f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
