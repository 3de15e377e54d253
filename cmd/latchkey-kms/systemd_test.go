package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// The units are right by systemd's own word, and their exposure is below
// 2.0 of 10.
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

		unit := filepath.Join(t.TempDir(), name+".service")
		here := strings.Replace(string(text), "ExecStart=/usr/bin/"+name, "ExecStart="+self, 1)
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

// A store that fails or hangs leaves systemd without a word; one that
// answers again does not.
func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failing error
		hang := make(chan bool)
		hanging, told := false, 0
		w := &watchdog{every: 30 * time.Second, log: slog.New(slog.DiscardHandler), tell: func(string) { told++ }}
		w.answers = func() error {
			if hanging {
				<-hang
			}
			return failing
		}

		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan bool)
		go func() { w.run(ctx); close(ended) }()
		minute := func(when string, least, most int) {
			t.Helper()
			told = 0
			time.Sleep(time.Minute)
			synctest.Wait()
			if told < least || told > most {
				t.Errorf("%s: systemd was told %d times in a minute, want %d to %d", when, told, least, most)
			}
		}

		minute("all is well", 5, 7)
		failing = errors.New("damaged")
		time.Sleep(15 * time.Second)
		minute("the store fails", 0, 0)
		failing, hanging = nil, true
		time.Sleep(15 * time.Second)
		minute("the store hangs", 0, 0)
		hanging = false
		close(hang)
		minute("it answers again", 5, 7)
		stop()
		<-ended
	})
}
