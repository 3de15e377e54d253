package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(suite{m}, map[string]func(){"kcrypt-discovery-challenger": func() {
		os.Exit(run(&options{dirs: strings.Fields(os.Getenv("OEM")), commandLine: os.Getenv("CMDLINE")}))
	}})
}

// A suite is all tests; the key server is removed after them.
type suite struct{ *testing.M }

func (s suite) Run() int {
	defer func() { os.RemoveAll(kmsDir) }()
	return s.M.Run()
}

// kmsDir is where the key server was built, "" if it was not.
var kmsDir string

// buildKMS builds the key server, once.
var buildKMS = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "latchkey-kms")
	if err != nil {
		return "", err
	}
	kmsDir = dir
	out, err := exec.Command("go", "build", "-trimpath", "-o", dir, "latchkey/cmd/latchkey-kms").CombinedOutput()
	if err != nil {
		return dir, errors.New(string(out))
	}
	return dir, nil
})

// Beside testscript's own commands the scripts have
//
//	kms start [FLAG…] | kms stop  a key server; its URL is $URL
//	chip                          a software TPM at $TPM, which oem/00_tpm.yaml names
//	clear HANDLE                  takes a key out of the TPM's NV
//	certificate NAME              NAME.pem and NAME.key, for 127.0.0.1; other.pem is for 127.0.0.9
func TestScripts(t *testing.T) {
	if _, err := exec.LookPath("swtpm"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("swtpm is needed in CI: run images/deps")
		}
		t.Skip("swtpm is not installed: run images/deps")
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			bin, err := buildKMS()
			e.Setenv("PATH", bin+":"+e.Getenv("PATH"))
			e.Setenv("DATA", e.WorkDir+"/kms")
			e.Setenv("OEM", e.WorkDir+"/oem "+e.WorkDir+"/run/cos/oem")
			e.Setenv("CMDLINE", e.WorkDir+"/cmdline")
			e.Values[runningKey{}] = map[string]*exec.Cmd{}
			e.Defer(func() {
				for _, c := range e.Values[runningKey{}].(map[string]*exec.Cmd) {
					c.Process.Kill()
					c.Wait()
				}
			})
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"kms": kmsCommand, "chip": chipCommand, "clear": clearCommand, "certificate": certificateCommand},
	})
}

type runningKey struct{}

func kmsCommand(ts *testscript.TestScript, _ bool, args []string) {
	running := ts.Value(runningKey{}).(map[string]*exec.Cmd)
	if args[0] == "stop" {
		running["kms"].Process.Kill()
		running["kms"].Wait()
		delete(running, "kms")
		return
	}
	cmd := exec.Command(filepath.Join(kmsDir, "latchkey-kms"), append([]string{"serve", "--data", ts.Getenv("DATA"), "--listen", "127.0.0.1:0", "--protocol", "lk1,kairos"}, args[1:]...)...)
	cmd.Dir = ts.MkAbs(".")
	log, err := os.OpenFile(ts.MkAbs("kms.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	defer log.Close()
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	running["kms"] = cmd
	line, err := bufio.NewReader(out).ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil || !ok {
		ts.Fatalf("the server did not start: %q; see:\n%s", line, ts.ReadFile("kms.log"))
	}
	ts.Setenv("ADDRESS", address)
}

func chipCommand(ts *testscript.TestScript, _ bool, _ []string) {
	socket := ts.MkAbs("tpm.sock")
	cmd := exec.Command("swtpm", "socket", "--tpm2", "--daemon", "--tpmstate", "dir="+ts.MkAbs("."), "--server", "type=unixio,path="+socket,
		"--ctrl", "type=unixio,path="+socket+".ctrl", "--pid", "file="+ts.MkAbs("tpm.pid"), "--flags", "not-need-init,startup-clear")
	out, err := cmd.CombinedOutput() // it returns when the sockets listen
	if err != nil {
		ts.Fatalf("starting swtpm: %v\n%s", err, out)
	}
	pid := strings.TrimSpace(ts.ReadFile("tpm.pid"))
	ts.Defer(func() { exec.Command("kill", pid).Run() })
	ts.Setenv("TPM", socket)
	ts.Check(os.WriteFile(ts.MkAbs("oem/00_tpm.yaml"), []byte("#cloud-config\nkcrypt: {tpm_device: "+socket+"}\n"), 0o600))
}

// clearCommand evicts a key, as clearing the TPM does.
func clearCommand(ts *testscript.TestScript, _ bool, _ []string) {
	bus, err := linuxudstpm.Open(ts.Getenv("TPM"))
	ts.Check(err)
	defer bus.Close()
	const handle = 0x81000008
	k, err := tpm2.ReadPublic{ObjectHandle: tpm2.TPMHandle(handle)}.Execute(bus)
	ts.Check(err)
	_, err = tpm2.EvictControl{
		Auth:         tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		ObjectHandle: &tpm2.NamedHandle{Handle: handle, Name: k.Name}, PersistentHandle: handle,
	}.Execute(bus)
	ts.Check(err)
}

func certificateCommand(ts *testscript.TestScript, _ bool, args []string) {
	address := net.IPv4(127, 0, 0, 1)
	if args[0] == "other" {
		address = net.IPv4(127, 0, 0, 9)
	}
	cert, key := selfSigned(ts.Check, nil, address)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".pem"), cert, 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".key"), key, 0o600))
}

// selfSigned makes a certificate for names and addresses, and its key, PEM.
func selfSigned(check func(error), names []string, addresses ...net.IP) (cert, private []byte) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kms"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: addresses, DNSNames: names, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(err)
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	check(err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}
