package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"

	"latchkey/kms"
	"latchkey/kms/config"
	"latchkey/kms/home"
	"latchkey/kms/softtpm"
)

// commands are all that do something, by their path.
func commands(c *cobra.Command) (all []*cobra.Command) {
	if c.Hidden || c.Name() == "help" || c.Name() == "completion" {
		return nil
	}
	if !c.HasSubCommands() {
		return []*cobra.Command{c}
	}
	for _, sub := range c.Commands() {
		all = append(all, commands(sub)...)
	}
	return all
}

// invocations are the lines of an example that run latchkey-kms, as words.
func invocations(t *testing.T, example string) (all [][]string) {
	t.Helper()
	example = strings.ReplaceAll(example, "\\\n", " ")
	for line := range strings.Lines(example) {
		at := strings.LastIndex(line, "latchkey-kms ")
		if at < 0 {
			continue
		}
		command, _, _ := strings.Cut(line[at:], " >")
		words, err := exec.Command("sh", "-c", `printf '%s\n' `+strings.TrimPrefix(strings.TrimSpace(command), "latchkey-kms ")).Output()
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, strings.Split(strings.TrimSpace(string(words)), "\n"))
	}
	return all
}

// Each command teaches by an example of itself, in words that the command
// takes.
func TestExamples(t *testing.T) {
	for _, c := range commands(newRoot()) {
		examples := invocations(t, c.Example)
		if len(examples) == 0 {
			t.Errorf("%s --help has no example", c.CommandPath())
		}
		own := 0
		for _, args := range examples {
			found, rest, err := newRoot().Find(args)
			if err != nil {
				t.Errorf("%s: %q: %v", c.CommandPath(), args, err)
				continue
			}
			if err := found.ParseFlags(rest); err != nil {
				t.Errorf("%s: %q: %v", c.CommandPath(), args, err)
			}
			if err := found.ValidateArgs(found.Flags().Args()); err != nil {
				t.Errorf("%s: %q: %v", c.CommandPath(), args, err)
			}
			if found.CommandPath() == c.CommandPath() {
				own++
			}
		}
		if own == 0 {
			t.Errorf("%s --help has examples of other commands only: %q", c.CommandPath(), examples)
		}
	}
}

// The examples do what they say, as they stand, on a KMS with the machines
// that they speak of.
func TestExamplesRun(t *testing.T) {
	f := newFixture(t)
	for _, c := range commands(newRoot()) {
		for _, args := range invocations(t, c.Example) {
			for i, word := range args {
				if strings.ContainsAny(word, " ") {
					args[i] = "'" + word + "'"
				}
			}
			text := strings.Join(args, " ")
			if prefixed(notHere, text) == "" {
				t.Run(text, func(t *testing.T) { f.example(t, text) })
			}
		}
	}
}

// prefixed is the longest key that a text begins with, or is, if that ends
// with "$".
func prefixed[V any](m map[string]V, text string) (longest string) {
	for prefix := range m {
		if strings.HasPrefix(text+"$", prefix) && len(prefix) > len(longest) {
			longest = prefix
		}
	}
	return longest
}

// A fixture is a KMS that a machine has asked, which is pending.
type fixture struct {
	data, dir string
	tpm       *softtpm.TPM
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{dir: t.TempDir()}
	f.data = filepath.Join(f.dir, "data")
	h := home.Home{Location: config.Location{Data: f.data, Place: config.Place{Kind: config.Bolt, Path: filepath.Join(f.data, "kms.db")}}}
	pin, err := h.Create(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	server, address := serveAs(t, h)
	if f.tpm, err = softtpm.Named("anna"); err != nil {
		t.Fatal(err)
	}
	uuid, err := kms.ParseUUID(exampleUUID)
	if err != nil {
		t.Fatal(err)
	}
	client := &kms.Client{Pins: []kms.Pin{pin}}
	if _, err := client.Get(t.Context(), address, f.tpm, []kms.Want{{UUID: uuid, Digest: [32]byte{1}, SeqID: 3}}); err == nil {
		t.Fatal("a machine that nobody knows got a key")
	}
	server.Process.Signal(syscall.SIGTERM)
	if err := server.Wait(); err != nil {
		t.Fatal(err)
	}
	return f
}

// example runs one on a copy, after what must be done before it.
func (f *fixture) example(t *testing.T, text string) {
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "data"), os.DirFS(f.data)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kms.db", "epoch", "wrapping.key"} { // CopyFS adds rights
		if err := os.Chmod(filepath.Join(dir, "data", name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"sealedvolume.yaml": exampleVolume, "secret.yaml": exampleSecret, "key": "a passphrase of some length", "exchange.jwk": exampleTang, "kms.yaml": "policy:\n  defaults: {per-boot: 3}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	if strings.Contains(text, "--output key") {
		os.Remove(filepath.Join(dir, "key"))
	}
	for _, step := range before[prefixed(before, text)] {
		f.must(t, dir, step)
	}
	if strings.HasPrefix(text, "init") {
		os.RemoveAll(filepath.Join(dir, "data"))
	}
	f.must(t, dir, text)
}

// must runs a command in dir, with what examples stand for filled in.
func (f *fixture) must(t *testing.T, dir, text string) {
	t.Helper()
	for _, r := range [][2]string{
		{"copper lantern drift meadow quiet anvil", "W"},
		{"W", f.tpm.NodeID().Words()},
		{"6f3c99a1 ", f.tpm.NodeID().String() + " "},
		{" U ", " " + exampleUUID + " "},
		{" T", " 4c4c4544-0042-3510-8052-b4c04f4d3632"},
		{" H", " 8ea95820c30b08286a3b40713684c711d66cb87678ffc459f6b356a8dfa95589"},
		{"/backup/kms-2026-05-01.db", "backup.db"},
		{"/backup/", ""},
		{"/var/db/tang", "."},
		{"/srv/kms", "data"},
	} {
		text = strings.TrimSpace(strings.ReplaceAll(text+" ", r[0], r[1]))
	}
	for placeholder, n := range map[string]int{"trust use lk1:IACMx2/hiNfc+4150nkCg2G5sY+MZdXNO3jt6GLQ+T0=": 1, "trust use K": 1, "trust retire lk1:IACMx2/hiNfc+4150nkCg2G5sY+MZdXNO3jt6GLQ+T0=": 1} {
		if text == placeholder {
			verb, _, _ := strings.Cut(strings.TrimPrefix(text, "trust "), " ")
			text = "trust " + verb + " " + f.pins(t, dir)[n]
		}
	}
	out, err := f.command(dir, text)
	if err != nil {
		t.Fatalf("latchkey-kms %s: %v\n%s", text, err, out)
	}
}

// pins are the public keys that trust prints.
func (f *fixture) pins(t *testing.T, dir string) []string {
	t.Helper()
	out, err := f.command(dir, "trust")
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile("lk1:[A-Za-z0-9+/=]+").FindAllString(out, -1)
}

func (f *fixture) command(dir, text string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	c := exec.Command("sh", "-c", `exec "$0" `+text+` --data data`, filepath.Join(f.dir, "latchkey-kms"))
	if _, err := os.Lstat(c.Args[3]); err != nil {
		if err := os.Symlink(self, c.Args[3]); err != nil {
			return "", err
		}
	}
	c.Dir = dir
	out, err := c.CombinedOutput()
	return string(out), err
}

// exampleTang is a key of tang's: EYtr00e4….
const exampleTang = `{"alg":"ECMR","crv":"P-521","d":"AS_sjemZu6e_2_l7-bixmYM2Kjkt83_-mCGLlOzn6sl10GRcH0YIUjfwIphlIMhYOlQ8aK7kpARwScCsrvasuc12","key_ops":["deriveKey"],"kty":"EC","x":"AKQt4MDftX9AHx7Cb82IIqZELdF_FO4H0XbbIDikXZqOhBwISAKLvmdR3K6PSAAqWWOdWwg7d3xjxqO7vITKORew","y":"ATJ8ZgsDR8Vx3mRWPAcnvuv5W9YYOJNZyJR5L1kaQTrgmJKnjk7rbqrMFc0hsdh36TVx01ZdfvizADZANLSu0eyg"}`

const exampleVolume = `apiVersion: keyserver.kairos.io/v1alpha1
kind: SealedVolume
metadata: {name: machine-a}
spec:
  TPMHash: 8ea95820c30b08286a3b40713684c711d66cb87678ffc459f6b356a8dfa95589
  partitions: [{label: COS_PERSISTENT}]
`

const exampleSecret = `apiVersion: v1
kind: Secret
metadata: {name: machine-a-key}
stringData: {pass: a passphrase of some length}
`
