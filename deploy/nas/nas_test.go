// Package nas tests the recipe for a NAS that is in its folder.
package nas

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	sidero "github.com/siderolabs/kms-client/api/kms"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"latchkey/internal/testlan"
)

// uid is who the recipe's containers run as.
const uid = 65532

const insideEnv = "LATCHKEY_TEST_NAS"

// TestMain gives the tests mounts and a network of their own.
func TestMain(m *testing.M) {
	testlan.Inside(m, insideEnv, syscall.CLONE_NEWNET|syscall.CLONE_NEWNS, func() error {
		return errors.Join(
			syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""),
			exec.Command("ip", "link", "set", "lo", "up").Run(),
		)
	})
}

func need(t *testing.T, programs ...string) {
	t.Helper()
	complain := t.Skipf
	if os.Getenv("CI") == "true" {
		complain = t.Fatalf
	}
	if os.Getenv(insideEnv) == "" {
		complain("needs root, for mounts of its own")
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			complain("needs the program %s", p)
		}
	}
}

// unpacked is the root of the container image of the real key server.
func unpacked(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	t.Setenv("CGO_ENABLED", "0")
	kms := testlan.Build(t, "latchkey/cmd/latchkey-kms")
	if err := os.WriteFile(kms+".cdx.json", []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	oci := testlan.Build(t, "latchkey/images/oci")

	t.Setenv("TMPDIR", dir)
	t.Setenv("HOME", dir)
	testlan.Run(t, oci, dir+"/kms.tar", "latchkey-kms", "1.2.0", "0123456789abcdef", runtime.GOARCH+"="+filepath.Dir(kms))
	testlan.Run(t, "skopeo", "--insecure-policy", "copy", "oci-archive:"+dir+"/kms.tar:1.2.0", "oci:"+dir+"/image:it")
	testlan.Run(t, "umoci", "unpack", "--image", dir+"/image:it", dir+"/bundle")
	return filepath.Join(dir, "bundle/rootfs")
}

// A service is what the recipe has of one container.
type service struct {
	Command, Volumes []string
	User             string
	ReadOnly         bool `yaml:"read_only"`
}

// services reads a compose file.
func services(t *testing.T, path string) map[string]service {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Services map[string]service }
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	return file.Services
}

// inside mounts what is named by pairs of arguments in the root $1, and
// starts what comes after "--" as user and group $2, on a root that nobody
// can write to.
const inside = `root=$1 user=$2; shift 2; mount --bind "$root" "$root"; mkdir -p "$root/etc/latchkey" "$root/run/secrets"
while [ "$1" != -- ]; do [ -e "$root$2" ] || : >"$root$2"; mount --bind "$1" "$root$2"; shift 2; done; shift
mount -o remount,bind,ro "$root"
exec setpriv --no-new-privs /usr/sbin/chroot --userspec="$user" --groups= "$root" "$@"`

// A nas is a host with folders where the recipe's volumes are.
type nas struct {
	t       *testing.T
	root    string
	folders map[string]string // by the name in the recipe
}

// command is a service's container, with another command if one is given.
func (n nas) command(s service, args ...string) *exec.Cmd {
	n.t.Helper()
	if !s.ReadOnly {
		n.t.Fatal("the recipe's container has a root that it can write to")
	}
	all := []string{"--mount", "--propagation", "private", "sh", "-euc", inside, "sh", n.root, s.User}
	for _, v := range s.Volumes {
		from, to, _ := strings.Cut(v, ":")
		folder, ok := n.folders[from]
		if !ok {
			n.t.Fatalf("the recipe's volume %s is not known here", from)
		}
		all = append(all, folder, strings.TrimSuffix(to, ":ro"))
	}
	if args == nil {
		args = s.Command
	}
	return exec.Command("unshare", append(append(all, "--", "/usr/bin/latchkey-kms"), args...)...)
}

// given is a file of the recipe as the user has it, for user 65532 to read.
func given(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := errors.Join(os.WriteFile(path, []byte(text), 0o400), os.Chown(path, uid, uid)); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// forced is a folder that shows all files with mode 0777, and takes no other.
func forced(t *testing.T) string {
	t.Helper()
	below, share := t.TempDir(), t.TempDir()
	testlan.Run(t, "bindfs", "-o", "perms=0777,chmod-ignore,chown-ignore,allow_other", below, share)
	t.Cleanup(func() { testlan.Run(t, "umount", share) })
	if err := os.Chmod(share, 0o700); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(share); err != nil || info.Mode().Perm() != 0o777 {
		t.Fatalf("the share has mode %v, %v; want 0777 whatever is set", info.Mode(), err)
	}
	return share
}

func owned(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(dir, 0o700), os.Chown(dir, uid, uid)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestNAS walks through the recipe: the key server in its container, as
// user 65532 on a root that is read-only, seals and opens a key of Talos,
// with its state in a volume of the engine, and in a share that forces modes.
//
// compatible: Release | Compose specification | the recipe for a NAS, walked through without an engine
func TestNAS(t *testing.T) {
	need(t, "skopeo", "umoci", "bindfs", "setpriv", "unshare")
	n := nas{t, unpacked(t), nil}
	for _, row := range []struct {
		compose, config string
		folders         map[string]string
		warns           bool
	}{
		{"compose.yaml", "kms.yaml", map[string]string{"state": owned(t), "./kms.yaml": given(t, read(t, "kms.yaml"))}, false},
		{"compose-share.yaml", "kms-share.yaml", map[string]string{
			"/volume1/docker/latchkey-kms": forced(t), "./kms-share.yaml": given(t, read(t, "kms-share.yaml")),
			"./passphrase": given(t, "twelve bytes and more\n"),
		}, true},
	} {
		t.Run(row.compose, func(t *testing.T) {
			n.t, n.folders = t, row.folders
			all := services(t, row.compose)
			for range 2 { // every start runs it
				if out, err := n.command(all["init"]).CombinedOutput(); err != nil {
					t.Fatalf("init: %v: %s", err, out)
				}
			}
			said := n.serves(all["latchkey-kms"])
			if got := strings.Contains(said, "strict-modes is false"); got != row.warns {
				t.Errorf("the server's log warns of the share: %v, want %v:\n%s", got, row.warns, said)
			}
		})
	}
}

// serves starts the server, approves a machine of Talos, and has it seal and
// unseal; it returns what the server says until it was stopped.
func (n nas) serves(s service) string {
	t := n.t
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := n.command(s)
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill() // on the way out of a test that failed
	testlan.Await(t, "the server's socket", func() bool {
		out, err := n.command(s, "talos", "list").CombinedOutput()
		return err == nil && !strings.Contains(string(out), "not running")
	})

	key := bytes.Repeat([]byte{7}, 32)
	const machine = "4c4c4544-0042-3510-8052-b4c04f4d3632"
	conn, err := grpc.NewClient("127.0.0.1:4050", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client, ctx := sidero.NewKMSServiceClient(conn), context.Background()
	if _, err := client.Seal(ctx, &sidero.Request{NodeUuid: machine, Data: key}, grpc.WaitForReady(true)); err == nil {
		t.Error("a machine that nobody approved was served")
	}
	if out, err := n.command(s, "talos", "approve", machine).CombinedOutput(); err != nil {
		t.Fatalf("approving: %v: %s", err, out)
	}
	sealed, err := client.Seal(ctx, &sidero.Request{NodeUuid: machine, Data: key})
	if err != nil {
		t.Fatalf("%v\n%s", err, read(t, log))
	}
	if got, err := client.Unseal(ctx, &sidero.Request{NodeUuid: machine, Data: sealed.Data}); err != nil || !bytes.Equal(got.Data, key) {
		t.Errorf("unsealing = %x, %v", got.GetData(), err)
	}

	if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()); err != nil {
		t.Errorf("stopping the server: %v", err)
	}
	return read(t, log)
}

// TestShareIsSaid: without the setting the share is refused, by a line that
// names it; with it, the key may not be in the share.
func TestShareIsSaid(t *testing.T) {
	need(t, "skopeo", "umoci", "bindfs", "setpriv", "unshare")
	n := nas{t, unpacked(t), map[string]string{"/volume1/docker/latchkey-kms": forced(t), "./passphrase": given(t, "twelve bytes and more\n")}}
	s := services(t, "compose-share.yaml")["init"]
	s.Volumes = slices.DeleteFunc(s.Volumes, func(v string) bool { return strings.HasPrefix(v, "./kms-share.yaml") })
	for _, row := range []struct {
		args []string
		want string
	}{
		{nil, "anyone may write to the data directory /var/lib/latchkey-kms (mode 0777)"},
		{nil, "on a share that gives every file such a mode: --strict-modes=false"},
		{[]string{"--strict-modes=false"}, "the wrapping key is in /var/lib/latchkey-kms (/var/lib/latchkey-kms/wrapping.key), which others may read where strict-modes is false"},
	} {
		out, err := n.command(s, append([]string{"init"}, row.args...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), row.want) || strings.Count(string(out), "\n") != 1 {
			t.Errorf("init %v = %v, %q; want one line with %q", row.args, err, out, row.want)
		}
	}
	if out, err := n.command(s, "init", "--strict-modes=false", "--wrapping-passphrase", "/run/secrets/passphrase").CombinedOutput(); err != nil {
		t.Errorf("with the passphrase elsewhere: %v: %s", err, out)
	}
}
