package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// An acmeClient is how one tells its deploy hook of a certificate in a folder.
type acmeClient struct {
	name string
	args []string
	env  []string
}

// TestACMEHook: what each client tells the deploy hook gets to where kms.yaml
// names it, readable by nobody else, and the server is told; a pair that does
// not belong together changes nothing.
func TestACMEHook(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("needs openssl: run images/deps")
	}
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.Mkdir(in("live"), 0o700), os.Mkdir(in("bin"), 0o700),
		os.WriteFile(in("bin/systemctl"), []byte("#!/bin/sh\necho \"$@\" >>"+in("called")+"\n"), 0o700)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"privkey.pem", "other.pem"} {
		shell(t, dir, "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout live/"+name+" -out live/"+strings.Replace(name, "privkey", "fullchain", 1)+".crt -subj /CN=kms.example.com -days 2 2>/dev/null")
	}
	certificate, key := in("live/fullchain.pem.crt"), in("live/privkey.pem")
	shell(t, dir, "cp live/fullchain.pem.crt live/fullchain.pem")

	run := func(args, env []string) (string, error) {
		cmd := exec.Command("../../images/packages/acme", args...)
		cmd.Env = append(append(os.Environ(), "PATH="+in("bin")+":"+os.Getenv("PATH"), "LATCHKEY_TLS="+in("tls")), env...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	want, _ := os.ReadFile(certificate)
	wantKey, _ := os.ReadFile(key)
	for _, c := range []acmeClient{
		{"certbot", nil, []string{"RENEWED_LINEAGE=" + in("live"), "RENEWED_DOMAINS=kms.example.com"}},
		{"lego", nil, []string{"LEGO_CERT_PATH=" + certificate, "LEGO_CERT_KEY_PATH=" + key}},
		{"acme.sh", nil, []string{"CERT_FULLCHAIN_PATH=" + certificate, "CERT_KEY_PATH=" + key, "Le_Domain=kms.example.com"}},
		{"a person", []string{certificate, key}, nil},
	} {
		if err := errors.Join(os.RemoveAll(in("tls")), os.RemoveAll(in("called"))); err != nil {
			t.Fatal(err)
		}
		if out, err := run(c.args, c.env); err != nil || out != "" {
			t.Errorf("%s: %v, %s", c.name, err, out)
		}
		have, _ := os.ReadFile(in("tls/kms.pem"))
		haveKey, _ := os.ReadFile(in("tls/kms.key"))
		called, _ := os.ReadFile(in("called"))
		if string(have) != string(want) || string(haveKey) != string(wantKey) || string(called) != "reload latchkey-kms.service\n" {
			t.Errorf("%s: the files are not in place, or the server was not told: %s", c.name, called)
		}
		if info, err := os.Stat(in("tls/kms.key")); err != nil || info.Mode()&0o027 != 0 {
			t.Errorf("%s: others may read the key: %v", c.name, info.Mode())
		}
	}

	for _, c := range []struct {
		name, key, says string
		code            int
	}{
		{"another key", in("live/other.pem"), "is not the key of", 1},
		{"no key", in("live/nothing"), "there is no file", 1},
		{"no client", "", "want CERTIFICATE KEY, or to be the hook of certbot, acme.sh or lego", 64},
	} {
		args := []string{certificate, c.key}
		if c.key == "" {
			args = nil
		}
		out, err := run(args, nil)
		exit, _ := errors.AsType[*exec.ExitError](err)
		haveKey, _ := os.ReadFile(in("tls/kms.key"))
		if exit == nil || exit.ExitCode() != c.code || !strings.Contains(out, c.says) || strings.Count(out, "\n") != 1 || string(haveKey) != string(wantKey) {
			t.Errorf("%s: %v, %s", c.name, err, out)
		}
	}
}

func shell(t *testing.T, dir, script string) {
	t.Helper()
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}
