package agent_test

import (
	"bufio"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"latchkey/boot/agent"
	"latchkey/boot/boottest"
)

// An agent that hangs is killed, and so is one that is stopped, soon: the TPM
// is closed all the same, people are told, and no socket is left in the place
// of a key file.
func TestEndKills(t *testing.T) {
	for _, row := range []struct {
		name    string
		stopped bool
		wait    time.Duration
	}{
		{"it hangs", false, 100 * time.Millisecond},
		{"it is stopped", true, agent.EndWait},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			at := agent.Sockets{Control: filepath.Join(dir, "agent.sock"), Common: deadSocket(t, dir, "key.sock"), Folder: dir}
			deadSocket(t, dir, "root.key")
			if err := os.WriteFile(filepath.Join(dir, "data.key"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := hanging(t, at.Control)
			if row.stopped {
				if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
					t.Fatal(err)
				}
			}

			m := boottest.New("kms")
			defer m.End()
			addData(m, false, "kms")
			began := time.Now()
			if err := agent.End(t.Context(), m.Agent(), at, row.wait); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > agent.EndWait/2 {
				t.Errorf("it took %s", took)
			}
			if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
				t.Errorf("the agent ended with %v, want killed", err)
			}
			if m.TPM.PCRs[15] == [32]byte{} {
				t.Error("PCR 15 is zero")
			}
			if log := strings.Join(m.Log(), "\n"); !strings.Contains(log, "does not answer in") || !strings.Contains(log, "the agent is killed") {
				t.Errorf("nobody is told:\n%s", log)
			}
			left, _ := filepath.Glob(filepath.Join(dir, "*"))
			if len(left) != 1 || filepath.Base(left[0]) != "data.key" {
				t.Errorf("left are %q, want the key file of another", left)
			}
		})
	}
}

// deadSocket is one that nobody listens at.
func deadSocket(t *testing.T, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	return path
}

// hanging is a process that listens and answers nobody.
func hanging(t *testing.T, socket string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LATCHKEY_TEST_HANGS="+socket)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	return cmd
}

// Sockets that somebody listens at are left to them.
func TestEndLeavesTheLiving(t *testing.T) {
	dir := t.TempDir()
	living, err := net.Listen("unix", filepath.Join(dir, "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	defer living.Close()
	m := boottest.New("kms")
	defer m.End()
	at := agent.Sockets{Control: filepath.Join(dir, "agent.sock"), Common: filepath.Join(dir, "key.sock"), Folder: dir}
	if err := agent.End(t.Context(), m.Agent(), at, long); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "root.key")); err != nil {
		t.Error(err)
	}
}

// One who may not order the latch is told so, also where there is no TPM to be
// closed: the agent still has its keys.
func TestEndByAnother(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	inLive(t, func(m *boottest.Machine) { m.KMS.State = "pending" }, control, func(l *live) {
		m := boottest.New("kms")
		defer m.End()
		m.TPM.State = "missing"
		failed := make(chan error, 1)
		go func() {
			runtime.LockOSThread() // to the end of this thread, whose file system user is another's
			unix.SetfsuidRetUid(65534)
			failed <- agent.End(t.Context(), m.Agent(), l.sockets(), long)
		}()
		if err := <-failed; !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "the agent is root's") {
			t.Errorf("End = %v, want that it is not permitted", err)
		}
		if log := strings.Join(m.Log(), "\n"); strings.Contains(log, "killed") {
			t.Errorf("people are told that it is killed:\n%s", log)
		}
		l.done(false)
	})
}
