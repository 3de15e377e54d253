package bench

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

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
same run. Keys of machines are made beforehand. Nothing else is touched.

With --debian, the root of a Debian, its tangd is asked for the same recoveries
in the same run: a process for each connection, as its socket unit starts it.`,
		Example: `  latchkey-kms-bench --nodes 1000 --seconds 5
  latchkey-kms-bench --protocol lk1,kairos,talos,tang --json
  latchkey-kms-bench --protocol tang,tang-p256 --debian "$(images/interop-root)"`,
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
	f.Var(cli.List(&load.Protocols), "protocol", "what they speak: lk1, kairos, talos, tang, tang-p256")
	f.StringVar(&load.Debian, "debian", "", "root of a Debian with tang, to compare with (needs root)")
	f.IntVar(&load.Seconds, "seconds", 3, "length of the steady run, in seconds")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	root.AddCommand(clusterCommand(), historyCommand(), waitingCommand(), emptyCommand())
	return cli.Main(root, args, stdout, stderr)
}

func clusterCommand() *cobra.Command {
	c := &Cluster{Servers: []int{1, 2, 3}, Trips: []time.Duration{0, 2 * time.Millisecond, 10 * time.Millisecond}}
	cmd := &cobra.Command{
		Use: "cluster", Short: "Measure key servers that share an etcd",
		Long: `Starts an etcd (from PATH) and so many key servers on it, each a process with
a share of a core of its own, behind a wire with a round trip to etcd, lets
machines ask all of them, and prints releases, transactions and conflicts
beside what the etcd does with transactions of as many rows that have nothing
to do with each other.`,
		Example: `  latchkey-kms-bench cluster --servers 1,2,3 --round-trip 0,2ms,10ms
  latchkey-kms-bench cluster --servers 3 --cpu 0 --lanes 1700 --nodes 5000`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := c.Run(cmd.Context(), cmd.OutOrStdout())
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.KMS, "kms", beside("latchkey-kms"), "key server to measure")
	f.IntSliceVar(&c.Servers, "servers", c.Servers, "how many, in each run")
	f.DurationSliceVar(&c.Trips, "round-trip", c.Trips, "to etcd, in each run")
	f.Float64Var(&c.CPU, "cpu", 0.15, "share of a core for each server; 0 is no limit")
	f.IntVar(&c.Lanes, "lanes", 32, "machines that ask at once at each server")
	f.IntVar(&c.Nodes, "nodes", 500, "machines")
	f.IntVar(&c.Seconds, "seconds", 5, "length of a run, in seconds")
	return cmd
}

func historyCommand() *cobra.Command {
	h := &History{}
	cmd := &cobra.Command{
		Use: "history", Short: "Measure how a key server with a long audit log starts",
		Long: `Fills the audit log of a key server of its own, seals it, and starts the server
on it twice: after a clean end, and after a kill. It prints how long that takes
until machines are answered and until all of the log is verified, and how much
memory. A million events need half a gigabyte of disk.`,
		Example: `  latchkey-kms-bench history --events 1000000
  latchkey-kms-bench history --events 10000000 --dir /var/tmp/ten-million`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := h.Run(cmd.Context(), cmd.OutOrStdout())
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&h.KMS, "kms", beside("latchkey-kms"), "key server to measure")
	f.IntVar(&h.Events, "events", 1_000_000, "events of the log")
	f.StringVar(&h.Dir, "dir", "", "folder of a database to keep, for the next run")
	return cmd
}

func waitingCommand() *cobra.Command {
	w := &Waiting{}
	cmd := &cobra.Command{
		Use: "waiting", Short: "Measure what machines cost that wait for an operator",
		Long: `Starts a key server, makes machines known to it and stops them, lets all ask and
wait for the operator's word as the init does, and prints which share of a core
and how much memory that costs the key server. Then it lets some go, one by one,
and prints how soon they have their keys.`,
		Example: `  latchkey-kms-bench waiting --machines 10000 --seconds 60`,
		Args:    cli.Args(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return w.Run(cmd.Context(), cmd.OutOrStdout()) },
	}
	f := cmd.Flags()
	f.StringVar(&w.KMS, "kms", beside("latchkey-kms"), "key server to measure")
	f.IntVar(&w.Machines, "machines", 1000, "machines")
	f.IntVar(&w.Seconds, "seconds", 30, "length of the measurement, in seconds")
	return cmd
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
