package qemutests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// interopEnv names the folder that images/interop-root made.
const interopEnv = "LATCHKEY_INTEROP"

// inDebian runs a program of the newer Debian in $1, which sees the script's
// folder $2 as /tmp and that folder's file hosts, if there is one, as
// /etc/hosts.
const inDebian = `root=$1 dir=$2; shift 2
mount --bind "$dir" "$root/tmp"; mount --rbind /dev "$root/dev"; mount -t proc proc "$root/proc"
[ ! -e "$dir/hosts" ] || mount --bind "$dir/hosts" "$root/etc/hosts"
exec chroot "$root" "$@"`

func (l *lan) debian(dir string, args ...string) *exec.Cmd {
	return l.command("unshare", append([]string{"--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", inDebian, "sh", os.Getenv(interopEnv), dir}, args...)...)
}

func (w *world) debian(args ...string) *exec.Cmd { return w.lan.debian(w.dir, args...) }

// debian WORDS…: a program of a newer Debian on the LAN's host side. The
// script's folder is its /tmp.
func cmdDebian(ts *testscript.TestScript, neg bool, args []string) {
	out, err := worldOf(ts).debian(args...).CombinedOutput()
	if (err != nil) != neg {
		ts.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	fmt.Fprintf(ts.Stdout(), "%s", out)
}

// allowed is what latchkey volume inspect has for the sources of a volume.
var allowed = regexp.MustCompile(`sources: \[(clevis: \{tang: (\[.*\])\})\]`)

// tang start|stop NAME [PORT]: a tang server on the LAN's host side, with
// the keys in the folder NAME, made now if there are none. tang allow IMAGE:
// the source that opens it by its tokens, $ALLOW, and the list of its keys,
// $TANG.
func cmdTang(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	switch {
	case len(args) == 2 && args[0] == "allow":
		out := w.exec(ts, filepath.Join(w.shared.bin, "latchkey"), "volume", "inspect", args[1])
		found := allowed.FindStringSubmatch(out)
		if found == nil {
			ts.Fatalf("latchkey volume inspect names no source:\n%s", out)
		}
		ts.Setenv("ALLOW", found[1])
		ts.Setenv("TANG", found[2])
	case len(args) == 2 && args[0] == "stop":
		w.stop(ts, args[1], true)
	case len(args) == 3 && args[0] == "start":
		if err := os.Mkdir(filepath.Join(w.dir, args[1]), 0o755); err == nil {
			cmdDebian(ts, false, []string{"/usr/libexec/tangd-keygen", "/tmp/" + args[1]})
		}
		w.start(ts, args[1], "", w.debian("/usr/libexec/tangd", "-l", "-p", args[2], "/tmp/"+args[1]))
		c, err := w.lan.dialUntil("127.0.0.1:"+args[2], patience)
		ts.Check(err)
		c.Close()
	default:
		ts.Fatalf("usage: tang start NAME PORT, tang stop NAME, tang allow IMAGE")
	}
}
