package agent_test

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/boot/agent"
	"latchkey/boot/boottest"
	"latchkey/internal/testlan"
)

// inDebian runs a program of the newer Debian in $1 with this /run.
const inDebian = `r=$1; shift
mount --rbind /run "$r/run"; mount --rbind /dev "$r/dev"; mount -t proc proc "$r/proc"
exec chroot "$r" "$@"`

// needDebian is the folder of a newer Debian, for tests with this /run.
func needDebian(t *testing.T) string {
	t.Helper()
	root := testlan.DebianRoot(t)
	for _, dir := range []string{"/run/systemd/ask-password", "/run/systemd/system"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// run runs one of systemd's programs.
func run(root string, args ...string) (string, error) {
	out, err := exec.Command("unshare", append([]string{"--mount", "--propagation", "private", "sh", "-ec", inDebian, "sh", root}, args...)...).CombinedOutput()
	return string(out), err
}

// systemd-ask-password gets the key of the device that it asks for, and what
// is asked for anything else is left to people.
//
// compatible: Boot | systemd-ask-password (Debian 13) | is answered for volumes of the plan, for nothing else
func TestAskPassword(t *testing.T) {
	root := needDebian(t)
	serve := func(ctx context.Context, l *live) {
		l.all.Go(func() {
			if err := l.agent.AskPassword(ctx, agent.AskFolder); err != nil {
				l.Error(err)
			}
		})
	}
	inLive(t, func(m *boottest.Machine) { m.Disks = append(m.Disks, boottest.DataDisk()) }, serve, func(l *live) {
		for _, id := range []string{"cryptsetup:/dev/vdb", "cryptsetup:root", "pkcs11:/dev/vda", "/dev/vda"} {
			if out, err := run(root, "systemd-ask-password", "--no-tty", "--timeout=1", "--id="+id, "Who?"); err == nil {
				t.Errorf("the question %s was answered: %q", id, out)
			}
		}
		out, err := run(root, "systemd-ask-password", "-n", "--no-tty", "--timeout=60", "--id=cryptsetup:/dev/vda", "Please enter passphrase for disk root:")
		if err != nil || out != boottest.Key {
			t.Errorf("systemd-ask-password says %q, %v, want %q", out, err, boottest.Key)
		}
	})
}

// A socket in the place of a key file gives its own volume's key to a
// connection that names it, or none, and nothing to one that names another.
func TestSocketOfAnother(t *testing.T) {
	var sockets []*net.UnixListener
	serve := func(ctx context.Context, l *live) {
		var err error
		if sockets, err = l.agent.KeySockets(l.dir, filepath.Join(l.dir, "key.sock")); err != nil {
			l.Fatal(err)
		}
		for _, s := range sockets {
			l.all.Go(func() { l.agent.ServeKeys(ctx, s, long) })
		}
	}
	inLive(t, nil, serve, func(l *live) {
		for _, row := range []struct {
			socket int // 0 is the one of all volumes
			from   string
			want   string
		}{
			{1, "@latchkey-test-1/cryptsetup/swap", ""},
			{0, "@latchkey-test-2/cryptsetup/swap", ""},
			{0, "", ""},
			{1, "@latchkey-test-3/cryptsetup/root", boottest.Key},
		} {
			local := &net.UnixAddr{Name: row.from, Net: "unix"}
			if row.from == "" {
				local = nil
			}
			c, err := net.DialUnix("unix", local, sockets[row.socket].Addr().(*net.UnixAddr))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(c)
			if c.Close(); err != nil || string(got) != row.want {
				t.Errorf("socket %d, from %q: %q, %v, want %q", row.socket, row.from, got, err, row.want)
			}
		}
		l.done(true)
	})
}

// systemd-cryptsetup finds the agent's socket in the place of a key file, by
// itself and by crypttab's third field, and takes the key of its volume from
// there. There is no device-mapper here: that it took one shows in that the
// agent has none left.
//
// compatible: Boot | systemd-cryptsetup (Debian 13) | takes the key from the agent's socket
func TestKeySockets(t *testing.T) {
	root := needDebian(t)
	serve := func(ctx context.Context, l *live) {
		sockets, err := l.agent.KeySockets(agent.KeyFolder, agent.KeySocket)
		if err != nil {
			l.Fatal(err)
		}
		for _, s := range sockets {
			l.all.Go(func() { l.agent.ServeKeys(ctx, s, long) })
		}
	}
	for _, row := range []struct{ name, keyFile string }{{"found by itself", "-"}, {"named by crypttab", agent.KeySocket}} {
		t.Run(row.name, func(t *testing.T) {
			image := filepath.Join("/run", "root.img")
			if err := os.WriteFile(image, boottest.RootDisk().Bytes, 0o600); err != nil {
				t.Fatal(err)
			}
			inLive(t, nil, serve, func(l *live) {
				attach := func(name string) string {
					out, _ := run(root, "env", "SYSTEMD_LOG_LEVEL=debug", "/usr/bin/systemd-cryptsetup", "attach", name, image, row.keyFile, "luks,headless=1,tries=1,token-timeout=1")
					return out
				}
				if out := attach("swap"); strings.Contains(out, "discovered") {
					t.Errorf("the volume swap found a key:\n%s", out)
				}
				l.done(false)
				out := attach("root")
				l.done(true)
				if found := strings.Contains(out, "Automatically discovered key for volume 'root'"); found != (row.keyFile == "-") {
					t.Errorf("discovered by itself: %t\n%s", found, out)
				}
			})
			if left, _ := filepath.Glob("/run/latchkey/*"); len(left) > 0 {
				t.Errorf("the agent left %q", left)
			}
		})
	}
}
