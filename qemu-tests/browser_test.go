package qemutests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// browser: builds the person at a Chromium (qemu-tests/browser), to be run as
// exec ip netns exec $NS $BROWSER STEPS SPKI, fetches axe-core as $AXE, and
// makes a certificate of 192.0.2.1 as web.crt and web.key, whose SPKI is $SPKI.
func cmdBrowser(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	top, err := filepath.Abs("..")
	ts.Check(err)
	if _, err := exec.LookPath("chromium"); err != nil {
		ts.Fatalf("needs chromium: run images/deps")
	}
	for name, cmd := range map[string]*exec.Cmd{
		"BROWSER": exec.Command("go", "build", "-o", filepath.Join(w.dir, "browser"), "./qemu-tests/browser"),
		"AXE":     exec.Command("images/axe"),
	} {
		cmd.Dir, cmd.Stderr, cmd.Env = top, os.Stderr, append(os.Environ(), "CGO_ENABLED=0")
		out, err := cmd.Output()
		ts.Check(err)
		ts.Setenv(name, strings.TrimSpace(string(out)))
	}
	ts.Setenv("BROWSER", filepath.Join(w.dir, "browser"))

	w.exec(ts, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=kms",
		"-addext", "subjectAltName=IP:192.0.2.1", "-keyout", "web.key", "-out", "web.crt")
	ts.Setenv("SPKI", strings.TrimSpace(w.exec(ts, "sh", "-c", "openssl x509 -in web.crt -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | openssl base64")))
}
