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
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name != "root" {
				return false, fmt.Errorf("there is no condition %s", name)
			}
			return os.Geteuid() == 0 || os.Getenv("CI") != "", nil // CI runs it, or fails
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"kms": kmsCommand, "machine": machineCommand, "damage": damageCommand, "certificate": certificateCommand, "talos": talosMachine, "apiserver": apiServer,
			"tmpfs": tmpfsCommand, "fill": fillCommand, "starve": starveCommand, "http": httpCommand, "pair": pairCommand,
		},
	})
}

// kmsCommand: kms start [flags] | kms reload LOG-REGEXP | kms stop | kms kill.
func kmsCommand(ts *testscript.TestScript, neg bool, args []string) {
	switch {
	case len(args) > 0 && args[0] == "start":
		startKMS(ts, args[1:])
	case len(args) == 1 && args[0] == "stop":
		stopKMS(ts)
	case len(args) == 1 && args[0] == "kill":
		killKMS(ts)
	case len(args) == 2 && args[0] == "reload":
		reloadKMS(ts, regexp.MustCompile(args[1]))
	default:
		ts.Fatalf("usage: kms start [flags] | kms reload LOG-REGEXP | kms stop | kms kill")
	}
}

func startKMS(ts *testscript.TestScript, flags []string) {
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
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	if err != nil {
		cmd.Wait()
		ts.Fatalf("the server did not start; see:\n%s", ts.ReadFile("kms.log"))
	}

	ts.Setenv("ADDRESS", strings.TrimSpace(strings.TrimPrefix(line, "listening on ")))
	ts.Setenv("URL", "http://"+ts.Getenv("ADDRESS"))
	ts.Setenv("PID", strconv.Itoa(cmd.Process.Pid))
	for flag, what := range map[string][2]string{
		"--talos-listen": {"TALOS", "listening for Talos on "}, "--metrics-listen": {"METRICS", "listening for metrics on "},
		"--admin-listen": {"ADMIN", "listening for administration on "},
	} {
		if slices.Contains(flags, flag) {
			line, err := lines.ReadString('\n')
			ts.Check(err)
			ts.Setenv(what[0], strings.TrimSpace(strings.TrimPrefix(line, what[1])))
		}
	}

	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	running[cmd.Process.Pid] = ended
	ts.Defer(func() { cmd.Process.Kill() })
}

func killKMS(ts *testscript.TestScript) {
	pid, err := strconv.Atoi(ts.Getenv("PID"))
	ts.Check(err)
	ts.Check(syscall.Kill(pid, syscall.SIGKILL))
	<-running[pid]
}

// reloadKMS sends SIGHUP and waits for a line that the server then logs.
func reloadKMS(ts *testscript.TestScript, want *regexp.Regexp) {
	pid, err := strconv.Atoi(ts.Getenv("PID"))
	ts.Check(err)
	before := len(ts.ReadFile("kms.log"))
	ts.Check(syscall.Kill(pid, syscall.SIGHUP))
	for end := time.Now().Add(10 * time.Second); !want.MatchString(ts.ReadFile("kms.log")[before:]); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("the server did not log %q:\n%s", want, ts.ReadFile("kms.log")[before:])
		}
	}
}

// running holds how the servers of this process' scripts end. Scripts run
// one after the other.
var running = map[int]chan error{}

func stopKMS(ts *testscript.TestScript) {
	pid, err := strconv.Atoi(ts.Getenv("PID"))
	ts.Check(err)
	ts.Check(syscall.Kill(pid, syscall.SIGTERM))
	ts.Check(<-running[pid])
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

func machineOf(args []string) (*softtpm.TPM, []string, error) {
	if len(args) < 2 {
		return nil, nil, errors.New("usage: machine NAME [PCRn=byte...] get|put|words|id ...")
	}
	tpm, err := softtpm.Named(args[0])
	if err != nil {
		return nil, nil, err
	}

	for args = args[1:]; strings.HasPrefix(args[0], "PCR"); args = args[1:] {
		var pcr int
		var value byte
		if _, err := fmt.Sscanf(args[0], "PCR%d=%d", &pcr, &value); err != nil {
			return nil, nil, err
		}
		tpm.PCRs[pcr] = [32]byte{value}
	}

	return tpm, args, nil
}

func askAs(ts *testscript.TestScript, tpm *softtpm.TPM, args []string) (string, error) {
	switch args[0] {
	case "words":
		return tpm.NodeID().Words(), nil
	case "id":
		return tpm.NodeID().String(), nil
	}

	_, pinned, _ := strings.Cut(ts.ReadFile("trust"), "\"")
	pinned, _, _ = strings.Cut(pinned, "\"")
	pin, err := kms.ParsePin(pinned)
	if err != nil {
		return "", err
	}

	uuid, err := kms.ParseUUID(args[1])
	if err != nil {
		return "", err
	}

	client, ctx := &kms.Client{Pins: []kms.Pin{pin}}, context.Background()
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
