package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// pty opens a terminal: the side of the person, and that of the program.
func pty(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("needs a pseudo terminal: %v", err)
	}
	t.Cleanup(func() { person.Close() })
	fd := int(person.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	err = errors.Join(err, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return person, program
}

// A talk is what was said at a terminal.
type talk struct {
	t      *testing.T
	tty    *os.File
	so     strings.Builder // all that was printed
	behind int             // what was waited for
}

// await reads until the program has printed this.
func (c *talk) await(text string) {
	c.t.Helper()
	for buffer := make([]byte, 4096); ; {
		if i := strings.Index(c.so.String()[c.behind:], text); i >= 0 {
			c.behind += i + len(text)
			return
		}
		n, err := c.tty.Read(buffer)
		c.so.Write(buffer[:n])
		if err != nil {
			c.t.Fatalf("waiting for %q: %v; so far:\n%s", text, err, c.so.String())
		}
	}
}

func (c *talk) say(text string) { c.press(text + "\n") }

func (c *talk) press(keys string) {
	c.t.Helper()
	if _, err := io.WriteString(c.tty, keys); err != nil {
		c.t.Fatal(err)
	}
}

// echoes tells whether a terminal shows what is typed.
func echoes(t *testing.T, tty *os.File) bool {
	t.Helper()
	settings, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return settings.Lflag&unix.ECHO != 0
}

const setupUUID = "5ca1ab1e-0000-4000-8000-00000000d150"

// debian makes a root whose / is on the volume dev/vol.
func (b *bench) debian() string {
	b.t.Helper()
	root := filepath.Join(b.dir, "root")
	for _, dir := range []string{"dev/disk/by-uuid", "dev/mapper", "proc/self", "sys/class/block/dm-0/dm", "lib/modules/1.0", "etc/latchkey", "boot"} {
		b.check(os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	for name, text := range map[string]string{
		"proc/self/mountinfo":          "22 1 253:0 / / rw - ext4 /dev/mapper/sda3_crypt rw\n",
		"sys/class/block/dm-0/dm/name": "sda3_crypt\n", "sys/class/block/dm-0/dm/uuid": "CRYPT-LUKS2-" + strings.ReplaceAll(setupUUID, "-", "") + "-sda3_crypt\n",
		"dev/dm-0": "", "lib/modules/1.0/modules.dep": "", "passphrase": "pass phrase",
	} {
		b.check(os.WriteFile(filepath.Join(root, name), []byte(text), 0o600))
	}
	b.check(os.Symlink("../dm-0", filepath.Join(root, "dev/mapper/sda3_crypt")))
	b.check(os.Symlink("../../vol", filepath.Join(root, "dev/disk/by-uuid", setupUUID)))
	return root
}

// atTerminal starts the command as a person does.
func (b *bench) atTerminal(args ...string) (*talk, *exec.Cmd) {
	b.t.Helper()
	person, program := pty(b.t)
	self, err := os.Executable()
	b.check(err)
	tool := filepath.Join(b.dir, "latchkey") // testscript.Main runs a command by its name
	b.check(os.Symlink(self, tool))
	cmd := exec.Command(tool, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = program, program, program
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	b.check(cmd.Start())
	b.check(program.Close())
	return &talk{t: b.t, tty: person}, cmd
}

// TestSetupAtATerminal: a person is asked and answers; the passphrase is not
// echoed, and what is not agreed to is not done. It is asked for before the
// volume is touched.
func TestSetupAtATerminal(t *testing.T) {
	b := newBench(t)
	root := b.debian()
	f, _ := emptyVolume(t, filepath.Join(root, "dev/vol"), setupUUID)
	before, err := os.ReadFile(f.Name())
	b.check(err)

	c, cmd := b.atTerminal("setup", "--root", root, "--tpm", filepath.Join(b.dir, "chip.sock"))
	c.await("1. Which volumes are opened at boot? [1] ")
	c.say("")
	c.await("[kms prompt] ")
	c.say("")
	c.await("3. Where is the key server (KMS)?")
	c.say(b.url)
	c.await("latchkey-kms trust) ")
	c.say(b.pin.String())
	c.await("5. How does it boot?")
	c.say("")
	c.await("Do this? [yes/no] ")
	c.say("yes")
	for range 3 {
		c.await("A passphrase that opens the volumes now: ")
		c.say("another phrase")
	}
	c.await("nothing was changed: run it again")

	err = cmd.Wait() // the phrase opens nothing
	if _, failed := errors.AsType[*exec.ExitError](err); !failed {
		t.Errorf("with a wrong passphrase setup ends with %v", err)
	}
	if said := c.so.String(); strings.Contains(said, "another phrase") {
		t.Errorf("the passphrase was echoed:\n%s", said)
	}
	after, err := os.ReadFile(f.Name())
	b.check(err)
	if string(after) != string(before) {
		t.Error("the volume was changed")
	}
	if exists(filepath.Join(root, defaultConfig)) {
		t.Error("a configuration was written")
	}
}
