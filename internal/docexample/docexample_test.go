package docexample

import (
	"bytes"
	"encoding/json"
	"io"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// TestPages: every block has a kind, shell is shell, and the formats of
// others are well-formed.
func TestPages(t *testing.T) {
	for page, text := range Pages(t) {
		if _, err := Split(page, text); err != nil {
			t.Error(err)
		}
	}
	for _, b := range Blocks(t, "sh") {
		sh := exec.Command("bash", "-n")
		sh.Stdin = bytes.NewReader([]byte(b.Text))
		if out, err := sh.CombinedOutput(); err != nil {
			t.Errorf("%s: bash -n: %s", b, out)
		}
	}
	for _, b := range Blocks(t, "json") {
		if !json.Valid([]byte(b.Text)) {
			t.Errorf("%s: no JSON", b)
		}
	}
	for _, b := range Blocks(t, "yaml other", "yaml kms.yaml", "yaml latchkey.yaml", "yaml latchkey.yaml part", "yaml kairos", "yaml cloud-config") {
		d := yaml.NewDecoder(bytes.NewReader([]byte(b.Text)))
		var err error
		for err == nil {
			var v any
			err = d.Decode(&v)
		}
		if err != io.EOF {
			t.Errorf("%s: %v", b, err)
		}
	}
}

func TestSplit(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     []Block
		ok       bool
	}{
		{"a block", "a\n```sh\nls\n```\n", []Block{{"p", 3, "sh", "ls\n"}}, true},
		{"in a list", "- a\n\n  ```sh\n  ls\n  ```\n", []Block{{"p", 4, "sh", "ls\n"}}, true},
		{"no kind", "```\nls\n```\n", nil, false},
		{"no fence", "a\n\n    ls\n", nil, false},
		{"no end", "```sh\nls\n", nil, false},
	} {
		got, err := Split("p", tt.in)
		if (err == nil) != tt.ok {
			t.Errorf("%s: Split = %v, want ok %t", tt.name, err, tt.ok)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestCalls(t *testing.T) {
	for line, want := range map[string][][]string{
		`p a --b 'c d'   # e`:                     {{"a", "--b", "c d"}},
		`p serve --listen :1 &`:                   {{"serve", "--listen", ":1"}},
		`q x | p a >out`:                          {{"a"}},
		`p $(date +%F) b`:                         {{"SUBST", "b"}},
		`runuser -u p -- p init --data /var/p`:    {{"init", "--data", "/var/p"}},
		`install p /usr/bin`:                      nil,
		`q "p a"`:                                 nil,
		`p "$(q -a "b")"`:                         {{"SUBST"}},
		`sudo p a … --b; p c && p d >/dev/null e`: {{"a", "--b"}, {"c"}, {"d", "e"}},
	} {
		var got [][]string
		for _, c := range calls("", line, "p") {
			got = append(got, c.Args)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("calls(%q) (-want +got):\n%s", line, diff)
		}
	}
}

// TestCheck: what does not exist is found.
func TestCheck(t *testing.T) {
	root := func() *cobra.Command {
		p, group := &cobra.Command{Use: "p", Args: cobra.ArbitraryArgs}, &cobra.Command{Use: "volume"}
		put := &cobra.Command{Use: "put UUID", Args: cobra.ExactArgs(1), Run: func(*cobra.Command, []string) {}}
		put.Flags().Bool("generate", false, "")
		group.Args = cobra.ArbitraryArgs
		group.AddCommand(put)
		p.AddCommand(group)
		return p
	}
	for _, tt := range []struct {
		name string
		args []string
		ok   bool
	}{
		{"as it is", []string{"volume", "put", "UUID", "--generate"}, true},
		{"a group alone", []string{"volume"}, true},
		{"no such command", []string{"status"}, false},
		{"no such command of a group", []string{"volume", "rename", "x"}, false},
		{"no such flag", []string{"volume", "put", "UUID", "--gen"}, false},
		{"too many arguments", []string{"volume", "put", "a", "b"}, false},
		{"help", []string{"volume", "put", "--help", "a"}, true},
	} {
		if err := check(root(), Command{Args: tt.args}); (err == nil) != tt.ok {
			t.Errorf("%s: check(%q) = %v, want ok %t", tt.name, tt.args, err, tt.ok)
		}
	}
}
