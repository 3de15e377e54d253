package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(suite{m}, map[string]func(){"latchkey": main})
}

// Beside testscript's own commands the scripts have
//
//	random FILE N        N random bytes
//	poke FILE OFFSET HEX writes bytes into a file
//	exits CODE PROGRAM.. runs it and compares the exit code
//	chip, kms            software TPMs and a key server: see lab_test.go
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: setUp,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"random": random,
			"poke":   poke,
			"exits":  exits,
			"chip":   cmdChip,
			"kms":    cmdKMS,
		},
		Condition: func(name string) (bool, error) {
			switch name {
			case "chips":
				return needChips() == "", nil
			case "stub":
				_, err := os.Stat("/usr/lib/systemd/boot/efi/linuxx64.efi.stub")
				return err == nil, nil
			case "mounts": // a mount namespace of its own, for another /etc
				return exec.Command("unshare", "--mount", "true").Run() == nil, nil
			}
			return false, errors.New("there are only the conditions chips, stub and mounts")
		},
	})
}

func setUp(e *testscript.Env) error {
	l := &lab{dir: e.WorkDir, running: map[string]*exec.Cmd{}}
	e.Values[labKey{}] = l
	e.Defer(l.close)
	e.Setenv("DATA", e.WorkDir+"/kms")
	hooks, err := filepath.Abs("../../images/hooks")
	if err != nil {
		return err
	}
	e.Setenv("HOOKS", hooks)
	if needChips() != "" {
		return nil
	}
	bin, err := buildKMS()
	e.Setenv("PATH", bin+":"+e.Getenv("PATH"))
	return err
}

func random(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: random FILE N")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	b := make([]byte, n)
	rand.Read(b)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o600))
}

func poke(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: poke FILE OFFSET HEX")
	}
	offset, err := strconv.ParseInt(args[1], 0, 64)
	ts.Check(err)
	b, err := hex.DecodeString(args[2])
	ts.Check(err)
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_WRONLY, 0)
	ts.Check(err)
	_, err = f.WriteAt(b, offset)
	ts.Check(err)
	ts.Check(f.Close())
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != want {
		ts.Fatalf("%q ended with %v, want exit code %d", args[1:], err, want)
	}
}
