package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/bench"
	"latchkey/kms/server/eventlog/eventlogtest"
	"latchkey/kms/softtpm"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"latchkey-kms":       main,
		"latchkey-kms-bench": func() { os.Exit(bench.Main(os.Args[1:], os.Stdout, os.Stderr)) },
	})
}

// Scripts have two commands beside latchkey-kms: kms starts and stops a
// server on $DATA, and machine asks it as a booting machine would.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("DATA", e.WorkDir+"/data")
			e.Setenv("LOOPBACK", loopback())
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name != "root" {
				return false, fmt.Errorf("there is no condition %s", name)
			}
			return os.Geteuid() == 0 || os.Getenv("CI") != "", nil // CI runs it, or fails
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"kms": kmsCommand, "machine": machineCommand, "damage": damageCommand, "certificate": certificateCommand, "revoke": revokeCommand, "talos": talosMachine, "tang": askTang, "apiserver": apiServer,
			"tmpfs": tmpfsCommand, "fill": fillCommand, "starve": starveCommand, "http": httpCommand, "pair": pairCommand, "terminal": terminalCommand,
		},
	})
}

// kmsCommand: kms start [flags] | kms sealed [flags], for one that starts so | kms begin LOG-REGEXP [flags], which waits
// for that line instead of the addresses | kms await, for those | kms reload
// LOG-REGEXP | kms stop | kms kill.
func kmsCommand(ts *testscript.TestScript, neg bool, args []string) {
	switch {
	case len(args) > 0 && args[0] == "start":
		startKMS(ts, args[1:])
	case len(args) > 0 && args[0] == "sealed":
		awaitAddresses(ts, launchKMS(ts, args[1:]), "sealed, ")
	case len(args) > 1 && args[0] == "begin":
		before := logSize(ts)
		launchKMS(ts, args[2:])
		awaitLog(ts, before, regexp.MustCompile(args[1]))
	case len(args) == 1 && args[0] == "await":
		pid, err := strconv.Atoi(ts.Getenv("PID"))
		ts.Check(err)
		awaitKMS(ts, running[pid])
	case len(args) == 1 && args[0] == "stop":
		stopKMS(ts)
	case len(args) == 1 && args[0] == "kill":
		killKMS(ts)
	case len(args) == 2 && args[0] == "reload":
		reloadKMS(ts, regexp.MustCompile(args[1]))
	default:
		ts.Fatalf("usage: kms start [flags] | kms begin LOG-REGEXP [flags] | kms await | kms reload LOG-REGEXP | kms stop | kms kill")
	}
}

func startKMS(ts *testscript.TestScript, flags []string) {
	awaitKMS(ts, launchKMS(ts, flags))
}

// A launched is a server that may not answer yet.
type launched struct {
	lines *bufio.Reader
	flags []string
	ended chan error
}

func launchKMS(ts *testscript.TestScript, flags []string) *launched {
	self, err := os.Executable()
	ts.Check(err)
	cmd := exec.Command(self, append([]string{"serve", "--data", ts.Getenv("DATA"), "--listen", "127.0.0.1:0"}, flags...)...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Args[0] = "latchkey-kms" // the test's binary takes the command's name
	cmd.Env = append(os.Environ(), "CREDENTIALS_DIRECTORY="+ts.Getenv("CREDENTIALS_DIRECTORY"))
	log, err := os.OpenFile(ts.MkAbs("kms.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ts.Setenv("PID", strconv.Itoa(cmd.Process.Pid))
	ts.Defer(func() { cmd.Process.Kill() })

	l := &launched{bufio.NewReader(out), flags, make(chan error, 1)}
	running[cmd.Process.Pid] = l
	go func() { l.ended <- cmd.Wait() }()
	return l
}

// awaitKMS waits until all addresses were printed.
func awaitKMS(ts *testscript.TestScript, l *launched) { awaitAddresses(ts, l, "") }

// awaitAddresses waits for lines that begin so: "sealed, ", or "".
func awaitAddresses(ts *testscript.TestScript, l *launched, begin string) {
	want := map[string]string{"listening on ": "ADDRESS"}
	for flag, what := range map[string][2]string{
		"--talos-listen": {"listening for Talos on ", "TALOS"}, "--metrics-listen": {"listening for metrics on ", "METRICS"},
		"--admin-listen": {"listening for administration on ", "ADMIN"}, "--sites-listen": {"listening for sites on ", "SITES"},
	} {
		if slices.Contains(l.flags, flag) {
			want[what[0]] = what[1]
		}
	}
	if at := slices.Index(l.flags, "--listen"); at >= 0 && l.flags[at+1] == "none" {
		delete(want, "listening on ")
	}

	for len(want) > 0 {
		line, err := l.lines.ReadString('\n')
		if err != nil {
			ts.Fatalf("the server did not start; see:\n%s", ts.ReadFile("kms.log"))
		}
		for prefix, name := range want {
			if address, ok := strings.CutPrefix(line, begin+prefix); ok {
				ts.Setenv(name, strings.TrimSpace(address))
				delete(want, prefix)
			}
		}
	}
	ts.Setenv("URL", "http://"+ts.Getenv("ADDRESS"))
}

func killKMS(ts *testscript.TestScript) {
	pid, err := strconv.Atoi(ts.Getenv("PID"))
	ts.Check(err)
	ts.Check(syscall.Kill(pid, syscall.SIGKILL))
	<-running[pid].ended
}

// reloadKMS sends SIGHUP and waits for a line that the server then logs.
func reloadKMS(ts *testscript.TestScript, want *regexp.Regexp) {
	pid, err := strconv.Atoi(ts.Getenv("PID"))
	ts.Check(err)
	before := logSize(ts)
	ts.Check(syscall.Kill(pid, syscall.SIGHUP))
	awaitLog(ts, before, want)
}

func logSize(ts *testscript.TestScript) int {
	info, err := os.Stat(ts.MkAbs("kms.log"))
	if err != nil {
		return 0
	}
	return int(info.Size())
}

// awaitLog waits for a line after what was logged before.
func awaitLog(ts *testscript.TestScript, before int, want *regexp.Regexp) {
	for end := time.Now().Add(10 * time.Second); !want.MatchString(ts.ReadFile("kms.log")[before:]); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("the server did not log %q:\n%s", want, ts.ReadFile("kms.log")[before:])
		}
	}
}

// running holds how the servers of this process' scripts end. Scripts run
// one after the other.
var running = map[int]*launched{}

func stopKMS(ts *testscript.TestScript) {
	pid, err := strconv.Atoi(ts.Getenv("PID"))
	ts.Check(err)
	ts.Check(syscall.Kill(pid, syscall.SIGTERM))
	ts.Check(<-running[pid].ended)
}

// machineCommand: machine NAME get UUID | put UUID SECRET | words | id,
// with PCRn=byte before. What is got is printed.
func machineCommand(ts *testscript.TestScript, neg bool, args []string) {
	tpm, args, err := machineOf(args)
	ts.Check(err)
	out, err := askAs(ts, tpm, args)
	fmt.Fprintln(ts.Stdout(), out)
	if err != nil {
		fmt.Fprintln(ts.Stderr(), codeOf(err), err)
	}
	if (err != nil) != neg {
		ts.Fatalf("machine %s: %s %v", strings.Join(args, " "), codeOf(err), err)
	}
}

// machineOf is a machine and what it is to do. BOOT is a recorded boot, whose
// log it can show, CMDLINE another command line of that boot's UKI.
func machineOf(args []string) (*softtpm.Booted, []string, error) {
	if len(args) < 2 {
		return nil, nil, errors.New("usage: machine NAME [BOOT=name [CMDLINE=words]] [PCRn=byte...] get|put|seal|prove|words|id ...")
	}
	named, err := softtpm.Named(args[0])
	if err != nil {
		return nil, nil, err
	}
	tpm := &softtpm.Booted{TPM: named, Fails: errors.New("this machine has no log")}
	args = args[1:]
	if name, ok := strings.CutPrefix(args[0], "BOOT="); ok {
		l := eventlogtest.Recorded(name)
		args = args[1:]
		if line, ok := strings.CutPrefix(args[0], "CMDLINE="); ok {
			l.SetSection(".cmdline", []byte(line))
			l.CommandLine = line
			args = args[1:]
		}
		for pcr, value := range l.PCRs("enter-initrd") {
			tpm.PCRs[pcr] = value
		}
		tpm.Log, tpm.Fails = kms.BootLog{Log: l.Encode(), CommandLine: l.CommandLine, Kernel: l.Kernel}, nil
	}

	for ; strings.HasPrefix(args[0], "PCR"); args = args[1:] {
		var pcr int
		var value byte
		if _, err := fmt.Sscanf(args[0], "PCR%d=%d", &pcr, &value); err != nil {
			return nil, nil, err
		}
		tpm.PCRs[pcr] = [32]byte{value}
	}

	return tpm, args, nil
}

func askAs(ts *testscript.TestScript, tpm *softtpm.Booted, args []string) (string, error) {
	switch args[0] {
	case "words":
		return tpm.NodeID().Words(), nil
	case "id":
		return tpm.NodeID().String(), nil
	}

	var pins []kms.Pin
	for _, quoted := range regexp.MustCompile(`"lk1:[^"]*"`).FindAllString(ts.ReadFile("trust"), -1) {
		pin, err := kms.ParsePin(strings.Trim(quoted, `"`))
		if err != nil {
			return "", err
		}
		pins = append(pins, pin)
	}

	uuid, err := kms.ParseUUID(args[1])
	if err != nil {
		return "", err
	}

	client, ctx := &kms.Client{Pins: pins}, context.Background()
	if slices.Contains([]string{"seal", "prove"}, args[0]) {
		return tellRecovery(ts, client, tpm, uuid, args)
	}
	want := []kms.Want{{UUID: uuid, Digest: [32]byte{1}, SeqID: 3}}
	var g *kms.Grant
	if args[0] == "put" {
		offer := kms.Offer{UUID: uuid, Kind: kms.Bound, Secret: secret.Own([]byte(args[2]))}
		g, err = client.Deposit(ctx, ts.Getenv("URL"), tpm, kms.Put, want, []kms.Offer{offer})
	} else {
		g, err = client.Get(ctx, ts.Getenv("URL"), tpm, want)
	}
	if err != nil {
		return "", err
	}

	return g.Volumes[0].Status.Code() + " " + string(g.Volumes[0].Active.Secret.Reveal()), nil
}

// damageCommand: damage FILE overwrites its middle.
func damageCommand(ts *testscript.TestScript, neg bool, args []string) {
	path := ts.MkAbs(args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	for i := len(b) / 4; i < len(b); i++ {
		b[i] ^= 0x5a
	}
	ts.Check(os.WriteFile(path, b, 0o600))
}
