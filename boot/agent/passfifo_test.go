package agent_test

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"latchkey/boot/boottest"
)

// askpass reads a passphrase from a FIFO and prints it, as Debian's does. It
// says first that it has opened it.
func askpass(fifo string) {
	f, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		panic(err)
	}
	os.Stdout.WriteString("open\n")
	buf := make([]byte, 512)
	n, err := f.Read(buf)
	if err != nil {
		panic(err)
	}
	os.Stdout.Write(buf[:n])
}

// An askpass is one that runs.
type askpassProcess struct {
	*exec.Cmd
	out *bufio.Reader
}

func startAskpass(t *testing.T, program, fifo string, env ...string) askpassProcess {
	t.Helper()
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), append(env, "LATCHKEY_TEST_ASKPASS="+fifo)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := askpassProcess{cmd, bufio.NewReader(out)}
	if line, err := p.out.ReadString('\n'); line != "open\n" {
		t.Fatalf("askpass says %q, %v", line, err)
	}
	return p
}

// Programs that are askpass, and whose environment names a volume, get its key
// by the FIFO that they read. One that asks for another volume and one that is
// no askpass get none.
func TestPassFIFO(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	path, fifo := filepath.Join(dir, "askpass"), filepath.Join(dir, "passfifo")
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	serve := func(ctx context.Context, l *live) {
		l.all.Go(func() {
			if err := l.agent.PassFIFO(ctx, "/proc", dir); err != nil {
				l.Error(err)
			}
		})
	}
	inLive(t, nil, serve, func(l *live) {
		if err := unix.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, other := range []askpassProcess{
			startAskpass(t, path, fifo, "CRYPTTAB_NAME=root", "CRYPTTAB_SOURCE=/dev/vdb"),
			startAskpass(t, path, fifo, "CRYPTTAB_NAME=swap", "CRYPTTAB_SOURCE=UUID=5"),
			startAskpass(t, self, fifo, "CRYPTTAB_NAME=root", "CRYPTTAB_SOURCE=/dev/vda"),
		} {
			other.Process.Kill()
			if got, _ := io.ReadAll(other.out); len(got) > 0 {
				t.Errorf("%q read %q", other.Env[len(other.Env)-3:], got)
			}
			other.Wait()
		}

		ours := startAskpass(t, path, fifo, "CRYPTTAB_NAME=root", "CRYPTTAB_SOURCE=/dev/vda")
		got, _ := io.ReadAll(ours.out)
		if err := ours.Wait(); err != nil || string(got) != boottest.Key {
			t.Errorf("askpass read %q, %v, want %q", got, err, boottest.Key)
		}
		l.done(true)
	})
}

// Where there is no askpass nobody asks.
func TestNoAskpass(t *testing.T) {
	inLive(t, nil, func(ctx context.Context, l *live) {
		if err := l.agent.PassFIFO(ctx, "/proc", t.TempDir()); err != nil {
			t.Error(err)
		}
	}, func(*live) {})
}
