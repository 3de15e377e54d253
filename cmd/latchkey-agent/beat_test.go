package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/internal/cli"
	"latchkey/internal/secret"
	"latchkey/kms/ledger"
	"latchkey/kms/server"
	"latchkey/kms/server/lk1"
	"latchkey/kms/store/bolt"
	"latchkey/unlock/tpm"
	"latchkey/unlock/tpm/tpmtest"
)

// keyServer is a whole KMS on loopback.
func keyServer(t *testing.T) (*server.Server, string) {
	t.Helper()
	dir := t.TempDir()
	db, err := bolt.Open(filepath.Join(dir, "kms.db"), true, server.Tables())
	if err != nil {
		t.Fatal(err)
	}
	wrapping, mark := secret.Random(32), ledger.MarkFile(filepath.Join(dir, "epoch"))
	if _, err := ledger.Initialize(t.Context(), db, wrapping, mark); err != nil {
		t.Fatal(err)
	}
	s, err := server.Open(server.Config{Store: db, Wrapping: wrapping, Mark: mark})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s.Handler())
	t.Cleanup(func() { web.Close(); s.Close() })
	return s, web.URL
}

// withLatchkey puts the program latchkey, as it is built from here, into PATH.
func withLatchkey(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", dir, "latchkey/cmd/latchkey").CombinedOutput(); err != nil {
		t.Fatalf("building latchkey: %v\n%s", err, out)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// beats runs the command.
func beats(ctx context.Context, log io.Writer, args ...string) error {
	c := beatCommand(ctx, log)
	c.SetArgs(args)
	c.SilenceErrors, c.SilenceUsage = true, true
	return c.Execute()
}

// A machine with a TPM is seen by a key server, by the configuration that its
// images are made of, and stops when it is told to.
func TestBeatCommand(t *testing.T) {
	sim := tpmtest.Start(t)
	withLatchkey(t)
	s, url := keyServer(t)
	config := filepath.Join(t.TempDir(), "latchkey.yaml")
	text := fmt.Sprintf("trust: {kms: [%q]}\nfind: {urls: [%q]}\nvolumes:\n  - {uuid: 5ca1ab1e-0000-4000-8000-00000000d150, name: root}\nroot: {device: /dev/mapper/root}\n", s.Pins()[0], url)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--config", config, "--tpm", sim.Socket}

	if err := beats(t.Context(), io.Discard, append(args, "--once")...); err == nil || !strings.Contains(err.Error(), "pending") {
		t.Fatalf("beat --once of a machine that nobody knows = %v, want pending", err)
	}
	approve(t, s, args)
	if err := beats(t.Context(), io.Discard, append(args, "--once")...); err != nil {
		t.Fatal(err)
	}
	nodes, err := s.Nodes()
	if err != nil || len(nodes) != 1 || nodes[0].Beat.IsZero() {
		t.Errorf("Nodes = %+v, %v, want one that was seen", nodes, err)
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	read, write := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- beats(ctx, write, args...); write.Close() }()
	line, err := bufio.NewReader(read).ReadString('\n')
	if want := "level=INFO msg=\"the key server sees this machine\"\n"; line != want {
		t.Errorf("the log has %q (%v), want %q", line, err, want)
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("the command ends with %v", err)
	}
}

// approve approves the machine before it has asked: a beat leaves no row.
func approve(t *testing.T, s *server.Server, args []string) {
	t.Helper()
	key, err := openTPM(t.Context(), args[3], tpm.EKAuto)
	if err != nil {
		t.Fatal(err)
	}
	id := key.(chip).NodeID()
	key.Close()
	if _, err := s.ApproveNode(t.Context(), lk1.Approval{Who: id.String(), NoPCRs: true}); err != nil {
		t.Fatal(err)
	}
}

// What is written wrongly is said in one line, and is no reason to try again.
func TestBeatOfWrongConfig(t *testing.T) {
	withLatchkey(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const pin = "trust: {kms: [\"lk1:IACMx2/hiNfc+4150nkCg2G5sY+MZdXNO3jt6GLQ+T0=\"]}\n"
	const volumes = "volumes:\n  - {uuid: 5ca1ab1e-0000-4000-8000-00000000d150, name: root}\nroot: {device: /dev/mapper/root}\n"
	good := write("good.yaml", pin+volumes+"find: {urls: [\"http://kms.local\"]}\n")
	for want, args := range map[string][]string{
		"gone.yaml":               {"--config", filepath.Join(dir, "gone.yaml")},
		"did you mean":            {"--config", write("typo.yaml", pin+volumes+"fnd: {}\n")},
		"--every is 1s, want 10s": {"--config", good, "--every", "1s"},
		"where the key server is": {"--config", good, "--kms", "https://kms.local"},
	} {
		var said strings.Builder
		code := cli.Main(command(t.Context(), io.Discard), append([]string{"beat"}, args...), io.Discard, &said)
		if code != cli.Usage || !strings.Contains(said.String(), want) || strings.Count(said.String(), "\n") != 1 {
			t.Errorf("beat %q = %d, %q, want exit %d and one line with %q", args, code, said.String(), cli.Usage, want)
		}
	}
}
