package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/internal/hosttab"
	"latchkey/unlock/tpm"
)

// A verdict is what a check says of the next boot.
type verdict string

const (
	good     verdict = "ok"
	doubtful verdict = "warn" // it comes up, but not as it should, or nobody can tell
	bad      verdict = "fail" // it would not come up by itself
)

// checkExits are the exit codes of the worst verdict, as monitoring plugins
// have them.
var checkExits = map[verdict]int{good: 0, doubtful: 1, bad: 2}

// A finding is the answer of one check.
type finding struct {
	Check   string  `json:"check"`
	Subject string  `json:"subject,omitempty"`
	Result  verdict `json:"result"`
	Text    string  `json:"text"`
	Remedy  string  `json:"remedy,omitempty"`
}

// A checker gathers findings about one machine.
type checker struct {
	update  imageUpdate // where the configuration and the images are
	host    hosttab.Host
	cmdline string
	tpm     string
	kms     string
	offline bool
	// elsewhere: the system is not the one that runs, so that this machine's
	// TPM and network say nothing of it.
	elsewhere bool

	all []finding
}

func (c *checker) ok(check, subject, format string, args ...any) {
	c.all = append(c.all, finding{check, subject, good, fmt.Sprintf(format, args...), ""})
}

func (c *checker) warn(check, subject, remedy, format string, args ...any) {
	c.all = append(c.all, finding{check, subject, doubtful, fmt.Sprintf(format, args...), remedy})
}

func (c *checker) fail(check, subject, remedy, format string, args ...any) {
	c.all = append(c.all, finding{check, subject, bad, fmt.Sprintf(format, args...), remedy})
}

func (c *checker) worst() verdict {
	worst := good
	for _, f := range c.all {
		if checkExits[f.Result] > checkExits[worst] {
			worst = f.Result
		}
	}
	return worst
}

func checkCommand() *cobra.Command {
	var o checker
	var asJSON bool
	c := &cobra.Command{
		Use:   "check [IMAGE-OR-CONFIG]",
		Short: "Say before a reboot whether this machine would come up",
		Long: `Check looks at what the next boot needs, and prints one line for each thing:
ok, warn or fail, and what to do. Nothing is written, no key is given out.

  image    each kernel's image is there, whole, by this latchkey.yaml, and
           newer than what it is made of; there is room for the next one
  modules  it has the drivers of this machine's disks and links
  volume   each volume is there, and its header is one that a boot takes
  opens    what each source gives opens a keyslot: key files and secrets that
           are sealed to the TPM are tried; a key server is asked for a
           challenge and, if this boot has opened its volumes (pcr15-used),
           for its decision, which then gives nothing
  root     what will be "/" is what is "/" now
  network  the links that the plan names are there, and one has a carrier
  entry    what systemd-boot or GRUB starts by itself boots an image of ours,
           with the kernel that it is for, and there is another one beside it

Without an argument the images of /etc/latchkey/latchkey.yaml are checked, of
all kernels; a latchkey.yaml is checked as if its image were there. Exit codes:
0 all is well, 1 there are warnings, 2 it would not come up by itself.

With --root all is read below that folder. What only the machine itself shows,
as its TPM, and what is not mounted there, is not judged, and named.`,
		Example: `  latchkey check
  latchkey check --json | jq '.findings[] | select(.result != "ok")'
  latchkey check /boot/efi/EFI/Linux/latchkey.efi`,
		Args: cli.Args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			o.host = hosttab.Host{Root: o.update.root}
			o.elsewhere = below(o.update.root) != "" && o.kms == "" && !c.Flags().Changed("tpm")
			if err := o.run(ctx, args); err != nil {
				return err
			}
			if err := o.print(c.OutOrStdout(), asJSON); err != nil {
				return err
			}
			return o.exit()
		},
	}

	f := c.Flags()
	f.StringVar(&o.update.config, "config", defaultConfig, "the configuration whose images are checked")
	f.StringVar(&o.update.root, "root", "/", "the root of the system; all paths are below it")
	f.StringVar(&o.update.version, "kernel-version", "", "check this kernel's image alone (default: of every kernel in /lib/modules)")
	f.StringVar(&o.cmdline, "cmdline", "", "kernel command line of the next boot (default: that of a unified kernel image, else of this boot)")
	f.StringVar(&o.tpm, "tpm", tpm.DefaultPath, tpmUsage)
	f.StringVar(&o.kms, "kms", "", "ask this KMS, as http://HOST[:PORT] (default: what the plan finds)")
	f.BoolVar(&o.offline, "offline", false, "ask no server")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// run makes all checks. It fails only where it is called wrongly, or is
// interrupted: what is wrong with the machine is a finding.
func (c *checker) run(ctx context.Context, args []string) error {
	if _, err := os.Stat(c.update.root); err != nil {
		return &cli.Exit{Code: cli.Usage, Err: fmt.Errorf("--root: %w", err)}
	}
	if c.update.version == "" {
		c.update.all = true
	}
	var plans []checkedPlan
	if len(args) > 0 {
		plans = c.named(args[0])
	} else {
		plans = c.installed()
	}

	c.unknownCmdline(plans)
	done := map[string]bool{}
	for _, p := range plans {
		if key := p.key(); !done[key] { // images of one configuration differ in their modules alone
			done[key] = true
			c.volumes(ctx, p)
			c.root(p)
			c.network(p)
		}
		c.modules(p)
	}
	return ctx.Err()
}

// cannotSee tells that a part of another system is not mounted below its root,
// and says so.
func (c *checker) cannotSee(check, subject, path string) bool {
	if below(c.update.root) == "" || exists(c.update.path(path)) {
		return false
	}
	c.warn(check, subject, "run it on that machine, or mount that there", "not judged: there is no %s", c.update.path(path))
	return true
}

// unknownCmdline says that a boot's command line is not known.
func (c *checker) unknownCmdline(plans []checkedPlan) {
	if slices.ContainsFunc(plans, func(p checkedPlan) bool { return p.cmdline == "" }) && below(c.update.root) != "" {
		c.warn("image", "", "name it: --cmdline", "not judged: what the kernel command line of that system changes")
	}
}

func (c *checker) print(w io.Writer, asJSON bool) error {
	if asJSON {
		return printJSON(w, map[string]any{"result": c.worst(), "findings": c.all})
	}
	for _, f := range c.all {
		text := f.Text
		if f.Subject != "" {
			text = f.Subject + ": " + text
		}
		if f.Remedy != "" {
			text += "; do: " + f.Remedy
		}
		if _, err := fmt.Fprintf(w, "%-4s  %-7s  %s\n", f.Result, f.Check, cli.OneLine(text)); err != nil {
			return err
		}
	}
	return nil
}

// exit says in one line what the findings come to.
func (c *checker) exit() error {
	count := map[verdict]int{}
	for _, f := range c.all {
		count[f.Result]++
	}
	switch worst := c.worst(); worst {
	case good:
		return nil
	case doubtful:
		return &cli.Exit{Code: checkExits[worst], Err: fmt.Errorf("%d of %d checks warn: read them before the reboot", count[doubtful], len(c.all))}
	default:
		return &cli.Exit{Code: checkExits[worst], Err: fmt.Errorf("this machine would not come up by itself: %d of %d checks failed", count[bad], len(c.all))}
	}
}
