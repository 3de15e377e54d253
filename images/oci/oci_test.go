package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// need skips a test without root or a program, and fails it in CI.
func need(t *testing.T, programs ...string) {
	t.Helper()
	complain := t.Skipf
	if os.Getenv("CI") == "true" {
		complain = t.Fatalf
	}
	if os.Getuid() != 0 {
		complain("needs root, to unpack files of other users")
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			complain("needs the program %s", p)
		}
	}
}

func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// built makes an image of the real key server for this machine, and of bytes
// that are none for the other, in two different folders.
func built(t *testing.T) (archive string) {
	t.Helper()
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	t.Setenv("CGO_ENABLED", "0")
	kms := filepath.Join(t.TempDir(), "kms")
	must(t, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", kms, "latchkey/cmd/latchkey-kms")
	var first []byte
	for range 2 {
		dir := t.TempDir()
		args := []string{filepath.Join(dir, "kms.tar"), "latchkey-kms", "1.2.3", "0123456789abcdef"}
		for _, arch := range []string{"amd64", "arm64"} {
			folder := filepath.Join(dir, arch)
			if err := os.Mkdir(folder, 0o700); err != nil {
				t.Fatal(err)
			}
			if arch == runtime.GOARCH {
				must(t, "cp", kms, filepath.Join(folder, "latchkey-kms"))
			} else if err := os.WriteFile(filepath.Join(folder, "latchkey-kms"), []byte(arch), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(folder, "latchkey-kms.cdx.json"), []byte(`{"arch":"`+arch+`"}`), 0o600); err != nil {
				t.Fatal(err)
			}
			args = append(args, arch+"="+folder)
		}
		if err := run(args); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(args[0])
		if err != nil {
			t.Fatal(err)
		}
		if first != nil && !bytes.Equal(first, text) {
			t.Error("two images of the same files differ")
		}
		first, archive = text, args[0]
	}
	return archive
}

// inspected is what skopeo says of an image.
type inspected struct {
	Architecture, Os, Created string
	Labels                    map[string]string
}

// TestImage: other implementations read the image, and what it has starts as
// its configuration says: not as root, on a root that nobody can write to.
//
// compatible: Release | skopeo (Debian 12) | reads the container images, of each architecture
// compatible: Release | umoci (Debian 12) | unpacks the container images; they run as their configuration says
func TestImage(t *testing.T) {
	need(t, "skopeo", "umoci", "unshare", "setpriv", "chroot")
	archive, dir := built(t), t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Setenv("HOME", dir)
	for _, arch := range []string{"amd64", "arm64"} {
		var got inspected
		text := must(t, "skopeo", "--override-arch", arch, "inspect", "oci-archive:"+archive+":1.2.3")
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		want := inspected{arch, "linux", "2023-11-14T22:13:20Z", map[string]string{
			"org.opencontainers.image.created": "2023-11-14T22:13:20Z", "org.opencontainers.image.licenses": "Apache-2.0",
			"org.opencontainers.image.revision": "0123456789abcdef", "org.opencontainers.image.title": "latchkey-kms", "org.opencontainers.image.version": "1.2.3",
		}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", arch, diff)
		}
		must(t, "skopeo", "--insecure-policy", "--override-arch", arch, "copy", "oci-archive:"+archive+":1.2.3", "oci:"+filepath.Join(dir, arch)+":it")
		must(t, "umoci", "unpack", "--image", filepath.Join(dir, arch)+":it", filepath.Join(dir, "bundle-"+arch))
		materials, err := os.ReadFile(filepath.Join(dir, "bundle-"+arch, "rootfs/usr/share/latchkey/latchkey-kms.cdx.json"))
		if err != nil || string(materials) != `{"arch":"`+arch+`"}` {
			t.Errorf("the image for %s says it is made of %q (%v)", arch, materials, err)
		}
	}
	bundle(filepath.Join(dir, "bundle-"+runtime.GOARCH)).check(t)
}

// A bundle is an unpacked image with its configuration, as OCI's runtimes
// take it.
type bundle string

type process struct {
	Args, Env []string
	Cwd       string
	User      struct{ UID, GID int }
}

// inside starts $5 and so on in the root $1 as user $3 and group $4, as a
// runtime does: the root is read-only, but for the data folder $2.
const inside = `mount --bind "$1" "$1" && mount --bind "$2" "$1/var/lib/latchkey-kms" && mount -o remount,bind,ro "$1" && root=$1 user=$3:$4 && shift 4 &&
exec setpriv --no-new-privs /usr/sbin/chroot --userspec="$user" --groups= "$root" "$@"`

func (b bundle) check(t *testing.T) {
	var spec struct{ Process process }
	text, err := os.ReadFile(filepath.Join(string(b), "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &spec); err != nil {
		t.Fatal(err)
	}
	p := spec.Process
	if p.User.UID != 65532 || p.User.GID != 65532 || p.Cwd != "/" || !slices.Equal(p.Args, []string{"/usr/bin/latchkey-kms"}) {
		t.Fatalf("the image starts %v in %s as %d:%d", p.Args, p.Cwd, p.User.UID, p.User.GID)
	}

	data := t.TempDir()
	if err := errors.Join(os.Chmod(data, 0o700), os.Chown(data, p.User.UID, p.User.GID)); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		args []string
		want string
		ok   bool
	}{
		{[]string{"init", "--data", "/elsewhere"}, "read-only file system", false},
		{[]string{"init"}, "created a KMS in /var/lib/latchkey-kms", true},
		{[]string{"trust"}, `- "lk1:`, true},
		{[]string{"store", "check"}, "", true},
		{[]string{"--version"}, "latchkey-kms version unknown (commit unknown, ", true},
	} {
		out, err := b.run(p, data, row.args...)
		if (err == nil) != row.ok || !strings.Contains(out, row.want) {
			t.Errorf("%v = %v, %q; want %q", row.args, err, out, row.want)
		}
	}
	if out := must(t, "find", string(b)+"/rootfs", "-user", "65532"); out != filepath.Join(string(b), "rootfs/var/lib/latchkey-kms")+"\n" {
		t.Errorf("the user owns %s", out)
	}
}

func (b bundle) run(p process, data string, args ...string) (string, error) {
	cmd := exec.Command("unshare", append(append([]string{
		"--mount", "--net", "--ipc", "--propagation", "private", "sh", "-euc", inside, "sh",
		filepath.Join(string(b), "rootfs"), data, strconv.Itoa(p.User.UID), strconv.Itoa(p.User.GID),
	}, p.Args...), args...)...)
	cmd.Env = p.Env
	out, err := cmd.CombinedOutput()
	return string(out), err
}
