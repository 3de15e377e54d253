package bench

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
)

// Main is the command latchkey-kms-bench; it returns its exit code.
func Main(args []string, stdout, stderr io.Writer) int {
	load := &Load{}
	var asJSON bool
	root := &cobra.Command{
		Use: "latchkey-kms-bench", Short: "Measure how many machines a key server on this host can serve",
		Long: `Starts a key server (latchkey-kms) with a database of its own in a temporary
directory, lets machines with software TPMs ask it, and prints what it answers
per second of one core, the audit log on stable storage included, beside what
the bare public-key operations of the same exchange allow on that core in the
same run. Keys of machines are made beforehand. Nothing else is touched.`,
		Example: `  latchkey-kms-bench --nodes 1000 --seconds 5
  latchkey-kms-bench --protocol lk1,kairos,talos --json`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := load.Run(c.Context())
			if err != nil {
				return err
			}
			if !asJSON {
				r.Print(c.OutOrStdout())
				return nil
			}
			e := json.NewEncoder(c.OutOrStdout())
			e.SetIndent("", "  ")
			return e.Encode(r)
		},
	}

	f := root.Flags()
	f.StringVar(&load.KMS, "kms", beside("latchkey-kms"), "key server to measure")
	f.IntVar(&load.Nodes, "nodes", 1000, "machines; up to 1,000 of them ask at once")
	load.Protocols = []string{"lk1", "kairos", "talos"}
	f.Var(cli.List(&load.Protocols), "protocol", "what they speak: lk1, kairos, talos")
	f.IntVar(&load.Seconds, "seconds", 3, "length of the steady run, in seconds")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cli.Main(root, args, stdout, stderr)
}

// beside finds a program next to this one, else in PATH.
func beside(name string) string {
	if self, err := os.Executable(); err == nil {
		path := filepath.Join(filepath.Dir(self), name)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	return name
}
