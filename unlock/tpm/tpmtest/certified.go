package tpmtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// StartCertified runs a TPM that swtpm_setup manufactured: it has an EK
// certificate (RSA-2048; its ECC one is P-384) of a local CA, whose root and
// issuing certificates are in the folder roots.
func StartCertified(tb testing.TB) (s *Simulator, roots string) {
	tb.Helper()
	if _, err := exec.LookPath("swtpm_setup"); err != nil {
		if os.Getenv("CI") != "" {
			tb.Fatalf("swtpm_setup is needed in CI: %v", err)
		}
		tb.Skip("swtpm_setup is not installed")
	}

	s = prepare(tb)
	ca := tb.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(ca, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
		return path
	}

	local := write("localca.conf", fmt.Sprintf("statedir = %[1]s\nsigningkey = %[1]s/key.pem\nissuercert = %[1]s/issuer.pem\ncertserial = %[1]s/serial\n", ca))
	options := write("localca.options", "--platform-manufacturer latchkey\n--platform-version 1\n--platform-model test\n")
	config := write("setup.conf", "create_certs_tool = swtpm_localca\ncreate_certs_tool_config = "+local+
		"\ncreate_certs_tool_options = "+options+"\nactive_pcr_banks = sha256\n")
	cmd := exec.Command("swtpm_setup", "--tpm2", "--tpmstate", s.dir, "--create-ek-cert", "--config", config, "--overwrite")
	if os.Geteuid() == 0 {
		cmd.Args = append(cmd.Args, "--runas", "root") // it would become the user tss, who may not come here
	}

	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("manufacturing a TPM: %v\n%s", err, out)
	}
	roots = tb.TempDir()
	for _, name := range []string{"issuer.pem", "swtpm-localca-rootca-cert.pem"} {
		if err := os.Rename(filepath.Join(ca, name), filepath.Join(roots, name)); err != nil {
			tb.Fatal(err)
		}
	}

	s.Boot()
	return s, roots
}
