package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/internal/docexample"
)

// TestReadme does what README's five minutes say, block by block. Only what
// a test cannot have is another: the places of files, the disk, the chip,
// the address and the pin of the key server, the words, and the reboot.
func TestReadme(t *testing.T) {
	if why := needChips(); why != "" {
		t.Skip(why)
	}
	s := newTour(t)
	s.serve()
	s.write("latchkey.yaml", s.block("yaml latchkey.yaml", "find:")+"modules: {set: none}\n")

	enrolled := make(chan string, 1)
	go func() { enrolled <- s.try("latchkey volume enroll", "today's passphrase") }()
	s.awaitWords()
	s.run("latchkey-kms node approve", "")
	if out := <-enrolled; !strings.Contains(out, "enrolled volume 5ca1ab1e-0000-4000-8000-00000000d150") || !strings.Contains(out, "recovery key") {
		t.Fatalf("enrolling printed %s", out)
	}

	out := s.run("latchkey image build", "")
	if !strings.Contains(out, "5ca1ab1e-0000-4000-8000-00000000d150") || !strings.Contains(out, "http://kms.local") {
		t.Errorf("plan show of the image printed %s", out)
	}
	if _, err := os.Stat(systemdStub); err == nil {
		s.run("latchkey image uki", "")
		s.file("boot/efi/EFI/Linux/latchkey.efi")
	} else if os.Getenv("CI") != "" {
		t.Error("needs the package systemd-boot-efi: run images/deps")
	}
}

const systemdStub = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"

// A tour is a folder that stands for both hosts.
type tour struct {
	t     *testing.T
	lab   *lab
	dir   string
	swaps []string // what is another, old and new in turn

	address string // of the key server
}

func newTour(t *testing.T) *tour {
	s := &tour{t: t, dir: t.TempDir()}
	s.lab = &lab{dir: s.dir, running: map[string]*exec.Cmd{}}
	t.Cleanup(s.lab.close)
	chip, err := s.lab.chip("chip")
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	listener.Close()

	for program, pkg := range map[string]string{"latchkey": "latchkey", "latchkey-kms": "latchkey-kms", "latchkey-init": "init"} {
		build := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(s.dir, "bin", program), "latchkey/cmd/"+pkg)
		build.Env = append(os.Environ(), "CGO_ENABLED=0") // the init must be static
		out, err := build.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	s.swaps = []string{
		"latchkey-kms ", "latchkey-kms --data " + s.dir + "/kms ", "latchkey volume enroll", "latchkey volume enroll --tpm " + chip,
		"192.0.2.5:7741", s.address, ":7741 --advertise kms.local", s.address, "/dev/vda2", s.dir + "/vda2",
		"/boot/vmlinuz-$(uname -r)", systemdStub, "/boot/", s.dir + "/boot/", "$(cat /proc/cmdline)", "root=/dev/mapper/root ro",
		"latchkey image build", "latchkey image build --modules " + s.dir + "/modules", "latchkey image uki", "latchkey image uki --modules " + s.dir + "/modules", "\nreboot\n", "\n",
	}

	for _, d := range []string{"modules", "boot/efi/EFI/Linux"} {
		if err := os.MkdirAll(filepath.Join(s.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"dep", "builtin", "alias"} {
		s.write("modules/modules."+f, "")
	}
	s.shell("truncate -s 18M vda2 && printf %s \"today's passphrase\" >key && latchkey volume format --key-file key --uuid 5ca1ab1e-0000-4000-8000-00000000d150 vda2", "")
	return s
}

// block is README's one block of a kind that has this text, with what is
// another here.
func (s *tour) block(kind, text string) string {
	s.t.Helper()
	var found []string
	for _, b := range docexample.Blocks(s.t, kind) {
		if b.Page == "README.md" && strings.Contains(b.Text, text) {
			found = append(found, b.Text)
		}
	}
	if len(found) != 1 {
		s.t.Fatalf("README has %d blocks with %q, want 1", len(found), text)
	}
	return strings.NewReplacer(s.swaps...).Replace(found[0])
}

// run runs README's block with this text and returns what it printed.
func (s *tour) run(text, stdin string) string {
	s.t.Helper()
	return s.shell(s.block("sh", text), stdin)
}

func (s *tour) shell(script, stdin string) string {
	s.t.Helper()
	out, err := s.bash(script, stdin)
	if err != nil {
		s.t.Fatalf("%s\n%v: %s", script, err, out)
	}
	return out
}

// try is run for another goroutine.
func (s *tour) try(text, stdin string) string {
	out, err := s.bash(s.block("sh", text), stdin)
	if err != nil {
		return err.Error() + ": " + out
	}
	return out
}

func (s *tour) bash(script, stdin string) (string, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-ec", script)
	cmd.WaitDelay = time.Second
	cmd.Dir, cmd.Stdin = s.dir, strings.NewReader(stdin+"\n")
	cmd.Env = append(os.Environ(), "PATH="+s.dir+"/bin:"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// serve makes the key server and starts it, as the block with "latchkey-kms
// serve" does in the background, and learns its pin.
func (s *tour) serve() {
	s.t.Helper()
	first, last, _ := strings.Cut(s.block("sh", "latchkey-kms serve"), "\nlatchkey-kms ")
	s.shell(first, "")
	trust := s.shell("latchkey-kms trust --data kms", "")
	_, pin, _ := strings.Cut(trust, `"`)
	pin, _, _ = strings.Cut(pin, `"`)
	s.swaps = append(s.swaps, "lk1:IACMx2/hiNfc+4150nkCg2G5sY+MZdXNO3jt6GLQ+T0=", pin)

	cmd := exec.Command(s.dir+"/bin/latchkey-kms", strings.Fields(strings.TrimRight(last, "& \n"))...)
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.lab.running["kms"] = cmd
	err := within(2*time.Minute, func() bool {
		c, err := net.Dial("tcp", s.address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// awaitWords waits until the machine is pending.
func (s *tour) awaitWords() {
	s.t.Helper()
	var nodes []struct{ State, Words string }
	err := within(2*time.Minute, func() bool {
		out, err := s.bash("latchkey-kms node list --json --data kms 2>/dev/null", "")
		return err == nil && json.Unmarshal([]byte(out), &nodes) == nil && len(nodes) == 1 && nodes[0].State == "pending"
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.swaps = append(slices.Clone(s.swaps), "liquid dryer vessel common indigo earth", nodes[0].Words)
}

func (s *tour) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *tour) file(name string) {
	s.t.Helper()
	if _, err := os.Stat(filepath.Join(s.dir, name)); err != nil {
		s.t.Error(err)
	}
}
