package qemutests

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
	"github.com/rogpeppe/go-internal/testscript"

	"latchkey/unlock/tpm/tpmtest"
)

// chipFolder is where a chip keeps its state, made with the chip.
func (w *world) chipFolder(ts *testscript.TestScript, name string) string {
	state := filepath.Join(w.dir, name)
	if _, err := os.Stat(state); err != nil {
		w.makeChip(ts, state, "sha256")
	}
	return state
}

func (w *world) makeChip(ts *testscript.TestScript, state, banks string) {
	ts.Check(os.Mkdir(state, 0o700))
	w.exec(ts, "swtpm_setup", "--tpm2", "--tpmstate", state, "--pcr-banks", banks)
}

// startChip starts the software TPM of this name; its state is kept in
// the script's folder, as a real chip keeps its own. NAME:MODEL is as slow as
// a chip of tpmtest.Models.
func (w *world) startChip(ts *testscript.TestScript, m *machine, name string) []string {
	name, like, slow := strings.Cut(name, ":")
	state, sock := w.chipFolder(ts, name), filepath.Join(w.dir, name+".sock")
	m.chip = w.power(ts, name, sock, "--tpmstate", "dir="+state, "--ctrl", "type=unixio,path="+sock, "--flags", "startup-clear", "--terminate")
	if slow {
		model, ok := tpmtest.Models[like]
		if !ok {
			ts.Fatalf("there is no chip %q", like)
		}
		ts.Check(slowChip(sock+".slow", sock, &tpmtest.Chip{Model: model}))
		sock += ".slow"
	}
	return []string{"-chardev", "socket,id=t,path=" + sock, "-tpmdev", "emulator,id=tpm0,chardev=t", "-device", w.hardware.tpm + ",tpmdev=tpm0"}
}

// power starts swtpm and waits until its socket is there.
func (w *world) power(ts *testscript.TestScript, name, sock string, flags ...string) *service {
	os.Remove(sock)
	log := "file=" + filepath.Join(w.dir, name+".commands") + ",level=20,truncate"
	chip, err := startService(w.dir, name, w.lan.command("swtpm", append([]string{"socket", "--tpm2", "--log", log}, flags...)...), os.Environ())
	ts.Check(err)
	for range 500 { // the socket shows that it listens; swtpm says nothing
		if _, err := os.Stat(sock); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return chip
}

// chip start NAME: the chip of a machine that is off, powered on for the
// host, which speaks to the socket $TPM. chip stop NAME: off again.
// chip make NAME BANKS: a new one with these banks of PCRs. chip own NAME:
// somebody sets a password for its endorsement hierarchy. chip freeze NAME:
// the one of the running machine answers no more, until chip thaw NAME: two
// minutes later the kernel cancels the command, and QEMU itself would wait.
// chip NAME VARIABLE: the number of commands since it was powered on.
func cmdChip(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	switch {
	case len(args) == 3 && args[0] == "make":
		w.makeChip(ts, filepath.Join(w.dir, args[1]), args[2])
	case len(args) != 2:
		ts.Fatalf("usage: chip start|stop|own|freeze|thaw NAME | chip make NAME BANKS | chip NAME VARIABLE")
	case args[0] == "own":
		cmdChip(ts, neg, []string{"start", args[1]})
		ts.Check(setPassword(ts.Getenv("TPM")))
		w.stop(ts, args[1], false)
	case args[0] == "freeze":
		ts.Check(w.machine.chip.cmd.Process.Signal(syscall.SIGSTOP))
	case args[0] == "thaw":
		ts.Check(w.machine.chip.cmd.Process.Signal(syscall.SIGCONT))
	case args[0] == "start":
		state, sock := w.chipFolder(ts, args[1]), filepath.Join(w.dir, args[1]+".host.sock")
		w.running[args[1]] = w.power(ts, args[1], sock, "--tpmstate", "dir="+state, "--server", "type=unixio,path="+sock,
			"--ctrl", "type=unixio,path="+sock+".ctrl", "--flags", "not-need-init,startup-clear")
		ts.Setenv("TPM", sock)
		c, err := net.Dial("unix", sock)
		for range 500 { // the socket is there a moment before it listens
			if err == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
			c, err = net.Dial("unix", sock)
		}
		ts.Check(err)
		ts.Check(c.Close())

	case args[0] == "stop":
		w.stop(ts, args[1], false)
	default:
		log, err := os.ReadFile(filepath.Join(w.dir, args[0]+".commands"))
		ts.Check(err)
		n := strconv.Itoa(countCommands(string(log)))
		ts.Setenv(args[1], n)
		fmt.Fprintln(ts.Stdout(), n, "TPM commands")
	}
}

// setPassword sets the password of the endorsement hierarchy: TPM 2.0
// Library, part 3, section 24.8. It outlives a reset.
func setPassword(sock string) error {
	t, err := linuxudstpm.Open(sock)
	if err != nil {
		return err
	}
	defer t.Close()
	_, err = tpm2.HierarchyChangeAuth{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
		NewAuth:    tpm2.TPM2BAuth{Buffer: []byte("somebody's")},
	}.Execute(t)
	return err
}

// commandRE finds a command's code in swtpm's log: behind tag and size.
var commandRE = regexp.MustCompile(`SWTPM_IO_Read: length \d+\n 80 0[12] (?:[0-9A-F]{2} ){4}((?:[0-9A-F]{2} ){4})`)

// getRandom is what the kernel's own hwrng asks of a TPM now and then.
const getRandom = "00 00 01 7B"

func countCommands(log string) (n int) {
	for _, m := range commandRE.FindAllStringSubmatch(log, -1) {
		if strings.TrimSpace(m[1]) != getRandom {
			n++
		}
	}
	return n
}
