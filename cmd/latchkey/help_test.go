package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"latchkey/unlock/tpm/tpmtest"
)

// commands are all that can be run by a user.
func commands(c *cobra.Command) (all []*cobra.Command) {
	for _, sub := range c.Commands() {
		if !sub.Hidden && sub.Name() != "help" && sub.Name() != "completion" {
			all = append(append(all, sub), commands(sub)...)
		}
	}
	return all
}

// Every command teaches: a line that says what it does, help of more than
// that, and an example; flags say what they are for.
func TestHelpTeaches(t *testing.T) {
	for _, c := range commands(root()) {
		group := len(c.Commands()) > 0
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: Short is %q, want a line without a period", c.CommandPath(), c.Short)
		}
		if !group && (c.Long == "" || c.Example == "") {
			t.Errorf("%s has no long help or no example", c.CommandPath())
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s: flag --%s has no usage", c.CommandPath(), f.Name)
			}
		})
		for line := range strings.Lines(c.Long) {
			if n := len(strings.TrimRight(line, "\n")); n > 80 {
				t.Errorf("%s: a help line has %d columns, want at most 80: %q", c.CommandPath(), n, line)
			}
		}
	}
}

// exampleLines are the commands of an example: continued lines are joined,
// comments left out.
func exampleLines(example string) (lines []string) {
	for line := range strings.Lines(strings.ReplaceAll(example, "\\\n", " ")) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}

// words splits a line as a shell does, up to a pipe or a redirection; what
// is in $(…) is one word.
func words(line string) (list []string) {
	var word strings.Builder
	quote, depth, open := rune(0), 0, false
	for i, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && depth == 0 && (r == '\'' || r == '"'):
			quote, open = r, true
		case r == '(' && strings.HasSuffix(line[:i], "$"):
			depth++
		case r == ')' && depth > 0:
			depth--
		case quote == 0 && depth == 0 && strings.ContainsRune("|<>&", r):
			if word.Len() > 0 {
				list = append(list, word.String())
			}
			return list
		case quote == 0 && depth == 0 && r == ' ':
			if open || word.Len() > 0 {
				list = append(list, word.String())
			}
			word.Reset()
			open = false
		default:
			word.WriteRune(r)
		}
	}
	if open || word.Len() > 0 {
		list = append(list, word.String())
	}
	return list
}

// Every example is a command that exists, with flags that it has and as
// many arguments as it takes.
func TestExamplesParse(t *testing.T) {
	for _, c := range commands(root()) {
		for _, line := range exampleLines(c.Example) {
			w := words(line)
			if w[0] != "latchkey" {
				continue
			}
			found, args, err := root().Find(w[1:])
			if err == nil {
				err = found.ParseFlags(args)
			}
			if err == nil && len(found.Commands()) == 0 {
				err = found.ValidateArgs(found.Flags().Args())
			}
			if err != nil || found.Name() == "latchkey" {
				t.Errorf("%s: the example %q does not parse: %v", c.CommandPath(), line, err)
			}
		}
	}
}

// The examples of the volume commands run, one after the other, on an image
// in place of the device (peers: what the help says is what works).
func TestVolumeExamplesRun(t *testing.T) {
	chip := tpmtest.Start(t)
	var script strings.Builder
	for _, c := range commands(root()) {
		path := strings.TrimPrefix(c.CommandPath(), "latchkey ")
		if !strings.HasPrefix(path, "volume") || path == "volume enroll" || path == "volume open" || path == "volume close" || path == "volume prove-recovery" {
			continue // these need a key server, or device-mapper
		}
		fmt.Fprintf(&script, "# %s\nexec sh -c 'rm -rf *'\nexec sh -c 'mkdir root; head -c 32 /dev/urandom >key; head -c 32 /dev/urandom >key2; head -c 32 /dev/urandom >part; truncate -s 1M root.ext4'\n", path)
		vols := []string{"root.luks2", "vda2"}
		if path == "volume rotate" {
			vols = append(vols, "data.luks2", "more.luks2")
		}
		for _, vol := range vols {
			fmt.Fprintf(&script, "exec truncate -s 18M %s\nexec latchkey volume format --key-file key %s\nexec latchkey volume add-key --key-file key --new-key-file key2 %s\n", vol, vol, vol)
		}
		if strings.Contains(c.Example, "root.ext4 root.luks2") || strings.Contains(c.Example, "truncate -s 1G") {
			script.WriteString("exec rm root.luks2\n") // the example makes it
		}
		for _, line := range exampleLines(c.Example) {
			line = strings.NewReplacer("/dev/vda2", "vda2", " 1G", " 20M", "jq -r .subset_digest", "grep subset_digest").Replace(line)
			if path == "volume enroll-tpm" {
				line = "openssl genrsa 2048 2>/dev/null | openssl rsa -pubout -out pcr.pub 2>/dev/null; " + line + " --tpm " + chip.Socket
			}
			if path == "volume enroll-together" {
				if strings.Contains(line, "--kms") {
					continue // enroll_together.txtar
				}
				line = strings.Replace(line, "/mnt/shop.key", "part", 1) + " --tpm " + chip.Socket
			}
			if path == "volume recovery-key" && strings.Contains(line, "--escrow") {
				continue // escrow.txtar
			}
			if path == "volume reseal" && strings.Contains(line, "--key-file") {
				line = strings.Replace(line, " --key-file", " --tpm "+chip.Socket+" --key-file", 1)
			}
			fmt.Fprintf(&script, "exec sh -e -c '%s'\n", line)
		}
	}

	file := filepath.Join(t.TempDir(), "examples.txtar")
	if err := os.WriteFile(file, []byte(script.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{Files: []string{file}})
}
