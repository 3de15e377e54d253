package agent_test

import (
	"context"
	"io"
	"net"
	"os"
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

func (l *live) sockets() agent.Sockets {
	return agent.Sockets{Control: l.socket(), Common: filepath.Join(l.dir, "key.sock"), Folder: l.dir}
}

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

// raw is the answer to a request as it stands.
func (l *live) raw(request string) string {
	l.Helper()
	c, err := net.Dial("unix", l.socket())
	if err != nil {
		l.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		l.Fatal(err)
	}
	answer, _ := io.ReadAll(c) // a connection that is closed unread is reset
	return string(answer)
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
		for _, name := range []string{"root\ndata", "\n"} {
			if got, err := l.key(name, long); err == nil || !strings.Contains(err.Error(), "names no such volume") {
				t.Errorf("Key of %q = %q, %v", name, got, err)
			}
		}
		if got := l.raw("key root\nkey data\n"); got != "-a request is one line" {
			t.Errorf("two requests are answered by %q", got)
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
		if err := agent.End(t.Context(), l.sys, l.sockets(), long); err != nil {
			t.Fatal(err)
		}
		if got, err := l.key("data", long); err == nil {
			t.Errorf("after the latch data has the key %q", got)
		}
	})
}
