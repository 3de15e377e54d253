package agent_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/boot/agent"
	"latchkey/boot/boottest"
)

// A live agent is one that answers at real sockets, in real time.
type live struct {
	*testing.T
	machine *boottest.Machine
	sys     *boottest.Agent
	agent   *agent.Agent
	dir     string
	ended   chan struct{} // closed when the agent has
	all     sync.WaitGroup
}

// inLive runs a test with a live agent and, until its end, what serves.
func inLive(t *testing.T, change func(*boottest.Machine), serve func(context.Context, *live), test func(*live)) {
	t.Helper()
	m := boottest.New("kms")
	defer m.End()
	if change != nil {
		change(m)
	}
	sys := m.Agent()
	a, err := agent.New(sys)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	l := &live{T: t, machine: m, sys: sys, agent: a, dir: t.TempDir(), ended: make(chan struct{})}
	defer func() { stop(); l.all.Wait() }()
	serve(ctx, l)
	l.all.Go(func() {
		defer close(l.ended)
		a.Run(ctx)
	})
	test(l)
}

func (l *live) socket() string { return filepath.Join(l.dir, "run/agent.sock") }

func control(ctx context.Context, l *live) {
	c, err := agent.Listen(l.socket())
	if err != nil {
		l.Fatal(err)
	}
	l.all.Go(func() { l.agent.Control(ctx, c) })
}

func (l *live) key(name string, wait time.Duration) (string, error) {
	k, err := agent.Key(l.Context(), l.socket(), name, wait)
	return string(k.Reveal()), err
}

// done wants the agent to have ended, since all keys are given, or not.
func (l *live) done(want bool) {
	l.Helper()
	if !want {
		select {
		case <-l.ended:
			l.Error("the agent has given its key away")
		default:
		}
		return
	}
	select {
	case <-l.ended:
	case <-time.After(long):
		l.Error("the agent still has its key")
	}
}

const long = time.Minute // more than any of these takes

// A keyscript gets the key; one who waits no more takes nothing away.
func TestKeyOverSocket(t *testing.T) {
	inLive(t, func(m *boottest.Machine) { m.KMS.State = "pending" }, control, func(l *live) {
		if got, err := l.key("root", 50*time.Millisecond); err == nil || !strings.Contains(err.Error(), "no key for root came in 50ms") {
			t.Errorf("Key of a machine that is not approved = %q, %v", got, err)
		}
		if got, err := l.key("swap", long); err == nil || !strings.Contains(err.Error(), "names no such volume") {
			t.Errorf("Key of a volume that is none of the plan's = %q, %v", got, err)
		}
		if info, err := os.Stat(l.socket()); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the socket has the mode %v, %v, want 0600", info.Mode(), err)
		}
		if _, err := agent.Listen(l.socket()); err == nil || !strings.Contains(err.Error(), "runs already") {
			t.Errorf("a second agent: %v", err)
		}
		l.machine.KMS.Set("")
		if got, err := l.key("root", long); err != nil || got != boottest.Key {
			t.Errorf("Key = %q, %v, want %q", got, err, boottest.Key)
		}
	})
}

// The latch is ordered: the answer comes when no key is left, and then nobody
// is there to be asked.
func TestLatchOverSocket(t *testing.T) {
	inLive(t, func(m *boottest.Machine) { addData(m, false, "kms") }, control, func(l *live) {
		if got, err := l.key("root", long); err != nil || got != boottest.Key {
			t.Fatalf("Key = %q, %v", got, err)
		}
		if err := agent.End(t.Context(), l.sys, l.socket(), long); err != nil {
			t.Fatal(err)
		}
		if got, err := l.key("data", long); err == nil {
			t.Errorf("after the latch data has the key %q", got)
		}
	})
}

// An agent that hangs is killed, and the TPM is closed all the same.
func TestEndKills(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.sock")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LATCHKEY_TEST_HANGS="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}

	m := boottest.New("kms")
	defer m.End()
	if err := agent.End(t.Context(), m.Agent(), path, 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the agent that hangs ended with %v, want killed", err)
	}
	if m.TPM.PCRs[15] == [32]byte{} {
		t.Error("PCR 15 is zero")
	}
}
