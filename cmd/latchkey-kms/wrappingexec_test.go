package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"latchkey/internal/docexample"
)

// wrappingExamples are the kms.yaml of docs/wrapping.md whose text has this.
func wrappingExample(t *testing.T, has string) string {
	t.Helper()
	for _, b := range docexample.Blocks(t, "yaml kms.yaml") {
		if strings.HasSuffix(b.Page, "wrapping.md") && strings.Contains(b.Text, has) {
			return b.Text
		}
	}
	t.Fatalf("docs/wrapping.md has no kms.yaml with %s", has)
	return ""
}

// program writes a shell script into a folder.
func program(t *testing.T, dir, name, lines string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\nset -eu\n"+lines+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// moves a KMS to what a configuration says and back to a file.
func (k *wrapped) moves(t *testing.T, text string) (config string) {
	t.Helper()
	config = filepath.Join(t.TempDir(), "kms.yaml")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	pin := k.ok("trust")
	k.ok("wrapping", "change", "--to-config", config)
	k.fails("does not fit", "store", "check")
	k.ok("store", "check", "--config", config)
	k.ok("wrapping", "change", "--config", config) // a new key, in the same place
	if got := k.ok("trust", "--config", config); got != pin {
		t.Errorf("trust = %s, want %s as before", got, pin)
	}
	return config
}

// The examples for clouds, as written, against stand-ins that take those
// arguments and no others: each encrypts with a password of its own.
func TestWrappingByClouds(t *testing.T) {
	const cipher = "openssl enc %s -aes-256-cbc -pbkdf2 -pass pass:cloud"
	encrypt, decrypt := strings.Replace(cipher, "%s", "-e", 1), strings.Replace(cipher, "%s", "-d", 1)
	for _, row := range []struct{ name, has, path, lines string }{
		{"AWS", "/usr/local/bin/aws", "/usr/local/bin/aws", `
[ "$AWS_REGION" = eu-central-1 ]
case "$*" in
"kms encrypt --key-id alias/latchkey --plaintext fileb:///dev/stdin --output text --query CiphertextBlob") ` + encrypt + ` | base64 ;;
"kms decrypt --key-id alias/latchkey --ciphertext-blob file:///dev/stdin --output text --query Plaintext") base64 -d | ` + decrypt + ` | base64 ;;
*) echo "usage: aws" >&2; exit 252 ;;
esac`},
		{"Google", "/usr/bin/gcloud", "/usr/bin/gcloud", `
[ -n "$CLOUDSDK_CONFIG" ]
case "$*" in
"kms encrypt --location=global --keyring=latchkey --key=wrapping --plaintext-file=- --ciphertext-file=-") ` + encrypt + ` ;;
"kms decrypt --location=global --keyring=latchkey --key=wrapping --ciphertext-file=- --plaintext-file=-") ` + decrypt + ` ;;
*) echo "ERROR: (gcloud)" >&2; exit 2 ;;
esac`},
	} {
		k, dir := newWrapped(t), t.TempDir()
		stand := program(t, dir, filepath.Base(row.path), row.lines)
		config := k.moves(t, strings.ReplaceAll(wrappingExample(t, row.has), row.path, stand))

		program(t, dir, filepath.Base(row.path), "echo Could not connect to the endpoint >&2; exit 255")
		k.fails("exit status 255: Could not connect to the endpoint", "store", "check", "--config", config)
	}
}

// A program that is not there is a wrong configuration: one line that names
// it, and the exit code after which no unit starts us again.
func TestWrappingProgramIsMissing(t *testing.T) {
	k, dir := newWrapped(t), t.TempDir()
	cat := program(t, dir, "cat", "od -An -tx1 | tr -d ' \n' | tr 0-9a-f a-p")
	back := program(t, dir, "back", "head -c 64 | tr a-p 0-9a-f | sed 's/../\\\\x&/g' | xargs -0 printf '%b'")
	config := filepath.Join(dir, "kms.yaml")
	if err := os.WriteFile(config, []byte("wrapping:\n  exec:\n    wrap: ["+cat+"]\n    unwrap: ["+back+"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	k.ok("wrapping", "change", "--to-config", config)
	k.ok("store", "check", "--config", config)
	if err := os.Rename(back, back+".away"); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"store", "check"}, {"serve"}, {"wrapping", "change"}} {
		code, out := command(t, append(args, "--config", config, "--data", k.data)...)
		if code != 64 || !strings.Contains(out, back+": no such file") || !strings.Contains(out, "name another in wrapping.exec") {
			t.Errorf("latchkey-kms %s without the program: %d %s, want 64 and what is missing", strings.Join(args, " "), code, out)
		}
	}
}

// Azure's example has a script, too.
func TestWrappingByAzure(t *testing.T) {
	k, dir := newWrapped(t), t.TempDir()
	private, public := filepath.Join(dir, "key.pem"), filepath.Join(dir, "azure.pem")
	for _, args := range [][]string{
		{"genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", private}, {"pkey", "-in", private, "-pubout", "-out", public},
	} {
		if out, err := exec.Command("openssl", args...).CombinedOutput(); err != nil {
			t.Fatalf("openssl: %v\n%s", err, out)
		}
	}
	program(t, dir, "az", `
[ "$1 $2 $3" = "keyvault key decrypt" ] && [ "${10}" = --data-type ] && [ "${12}" = --value ]
[ "$4 $5 $6 $7 $8 $9 ${14} ${15} ${16} ${17}" = "--vault-name latchkey --name wrapping --algorithm RSA-OAEP-256 --query result --output tsv" ]
printf %s "${13}" | base64 -d | openssl pkeyutl -decrypt -inkey `+private+` -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 | base64`)

	var script string
	for _, b := range docexample.Blocks(t, "sh") {
		if m := regexp.MustCompile(`(?s)<<'END'\n#!/bin/sh\n(.*az keyvault.*)\nEND\n`).FindStringSubmatch(b.Text); m != nil {
			script = m[1]
		}
	}
	unwrap := program(t, dir, "azure-unwrap", "PATH="+dir+":$PATH\n"+script)
	text := strings.NewReplacer("/etc/latchkey/azure.pem", public, "/etc/latchkey/azure-unwrap", unwrap).Replace(wrappingExample(t, "azure-unwrap"))
	k.moves(t, text)
}

// newToken makes a token of SoftHSM in a folder, with a key pair of its own.
func newToken(t *testing.T, dir string) (conf string) {
	t.Helper()
	for _, need := range []string{"softhsm2-util", "pkcs11-tool", "openssl"} {
		if _, err := exec.LookPath(need); err != nil {
			t.Skipf("%s is not installed (images/deps)", need)
		}
	}
	conf = filepath.Join(dir, "softhsm2.conf")
	if err := os.Mkdir(filepath.Join(dir, "tokens"), 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, conf, "directories.tokendir = "+filepath.Join(dir, "tokens")+"\n")
	tool := func(args ...string) string {
		c := exec.Command(args[0], args[1:]...)
		c.Env = append(os.Environ(), "SOFTHSM2_CONF="+conf)
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", args, err, out)
		}
		return string(out)
	}
	tool("softhsm2-util", "--init-token", "--free", "--label", "latchkey", "--pin", "123456", "--so-pin", "87654321")
	if out := tool("pkcs11-tool", "--module", "/usr/lib/softhsm/libsofthsm2.so", "--token-label", "latchkey", "--login", "--pin", "123456",
		"--keypairgen", "--key-type", "rsa:2048", "--id", "01", "--label", "wrapping"); !strings.Contains(out, "never extractable, local") {
		t.Fatalf("the token made %s", out)
	}
	return conf
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The HSM's example, with the script of the package and a real token. Its
// key is made in it and never leaves.
func TestWrappingByPKCS11(t *testing.T) {
	k, dir := newWrapped(t), t.TempDir()
	conf, pin, tokens := newToken(t, dir), filepath.Join(dir, "pin"), filepath.Join(dir, "tokens")
	writeFile(t, pin, "123456\n")
	script, err := filepath.Abs("../../images/packages/pkcs11")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("/usr/lib/latchkey/latchkey-kms-pkcs11", script, "/etc/latchkey/pin", pin, "/etc/latchkey/softhsm2.conf", conf).
		Replace(wrappingExample(t, "latchkey-kms-pkcs11"))
	config := k.moves(t, text)

	writeFile(t, pin, "1234567\n")
	k.fails("exit status 77: latchkey-kms-pkcs11: token latchkey: error: PKCS11 function C_Login failed: rv = CKR_PIN_INCORRECT", "store", "check", "--config", config)
	writeFile(t, pin, "123456\n")
	if err := os.Rename(tokens, tokens+".away"); err != nil {
		t.Fatal(err)
	}
	k.fails(`exit status 75: latchkey-kms-pkcs11: token latchkey, key 01: `, "store", "check", "--config", config)
	if err := os.Rename(tokens+".away", tokens); err != nil {
		t.Fatal(err)
	}
	k.ok("wrapping", "change", "--config", config, "--to-key", filepath.Join(dir, "copy.key"), "--keep")
	k.ok("store", "check", "--config", config)
}

// What cannot be read back changes nothing, and no plaintext is written.
func TestWrappingExecReadsBack(t *testing.T) {
	k, dir := newWrapped(t), t.TempDir()
	config := filepath.Join(dir, "kms.yaml")
	for name, row := range map[string]struct{ wrap, unwrap, want string }{
		"another key":    {"sha256sum", "head -c 32 /dev/zero", "reading the new key back: it is not the one that was written"},
		"no key":         {"sha256sum", "echo hello", "reading the new key back: unwrapping the wrapping key"},
		"the key itself": {"cat", "cat", "has the key in it, not encrypted"},
	} {
		text := "wrapping: {exec: {wrap: " + program(t, dir, "wrap", row.wrap) + ", unwrap: " + program(t, dir, "unwrap", row.unwrap) + "}}\n"
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		k.fails(row.want, "wrapping", "change", "--to-config", config)
		if left, _ := filepath.Glob(filepath.Join(k.data, "wrapping.exec*")); len(left) > 0 {
			t.Errorf("%s: %q is left", name, left)
		}
		k.ok("store", "check")
	}
	k.fails("mutually exclusive", "wrapping", "change", "--to-config", config, "--to-key", filepath.Join(dir, "k"))
	if err := os.WriteFile(config, []byte("listen: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	k.fails("says nothing of it", "wrapping", "change", "--to-config", config)
}

// The power goes between the change of the key in the database and that of
// its material, which another program made: the next command finishes.
func TestWrappingExecCut(t *testing.T) {
	k, dir := newWrapped(t), t.TempDir()
	material := filepath.Join(k.data, "wrapping.exec")
	config := func(name string) string {
		path := filepath.Join(dir, name+".yaml")
		wrap := program(t, dir, name+"-wrap", "echo "+name+"; base64 | rev")
		unwrap := program(t, dir, name+"-unwrap", `read -r who; [ "$who" = `+name+` ] || exit 1; rev`)
		if err := os.WriteFile(path, []byte("wrapping: {exec: {wrap: "+wrap+", unwrap: "+unwrap+"}}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	one, two := config("one"), config("two")
	k.ok("wrapping", "change", "--to-config", one)
	old, err := os.ReadFile(material)
	if err != nil {
		t.Fatal(err)
	}
	k.ok("wrapping", "change", "--config", one, "--to-config", two)
	if err := os.Rename(material, material+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(material, old, 0o600); err != nil {
		t.Fatal(err)
	}
	k.ok("store", "check", "--config", two)
	if _, err := os.Stat(material + ".new"); err == nil {
		t.Error("the change was not finished")
	}
}
