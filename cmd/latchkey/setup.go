package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/internal/hosttab"
	"latchkey/internal/plan"
	"latchkey/internal/strictyaml"
	"latchkey/unlock/tpm"
)

// The boot ways that setup puts in place.
const (
	wayInitramfs = "initramfs"
	wayUKI       = "uki"
)

// setupSources are those that setup enrolls; the others need a person's
// decisions that no question here asks for (docs/sources.md).
var setupSources = []string{plan.SourceKMS, plan.SourceSystemd, plan.SourcePrompt}

// Answers are those of the five questions. A file of them is YAML.
type Answers struct {
	Volumes []string `yaml:"volumes"` // UUIDs, or devices
	KMS     string   `yaml:"kms"`     // http://HOST[:PORT]
	Pins    []string `yaml:"pins"`    // as latchkey-kms trust prints them
	Sources []string `yaml:"sources"` // in the order of the plan
	Boot    string   `yaml:"boot" words:"initramfs uki"`
	Sign    string   `yaml:"sign" words:"yes no"` // with the keys for Secure Boot that are here
}

// A setup is one run of the command.
type setup struct {
	Answers
	update                             imageUpdate
	host                               hosttab.Host
	answers, keyFile, tpm              string
	yes, undo, dryRun, noCheck, escrow bool

	in        *bufio.Reader
	terminal  bool            // a person answers
	interrupt <-chan struct{} // ends a wait for an answer
	out, err  io.Writer
}

func setupCommand() *cobra.Command {
	var o setup
	c := &cobra.Command{
		Use:   "setup",
		Short: "Make this machine open its disks by itself at boot, or take that back",
		Long: `Setup asks five questions, or six, about the machine that it runs on: which
volumes, which key server (KMS), its key, which sources open the volumes, how
the machine boots, and whether the keys for Secure Boot that it has sign the
image.
It shows in words what a boot will do, and when you agree it

  enrolls   each volume, with a passphrase that it has: that one stays
  writes    /etc/latchkey/latchkey.yaml; names are those of crypttab
  builds    the image of each kernel; the distribution's is kept beside it
  checks    whether the machine would come up (latchkey check)

A flag answers a question, and so does a file of --answers; with --yes what
nobody answered is as setup would propose it, and nothing is asked. What was
done is in /etc/latchkey/setup.json, and --undo takes it back: the
distribution's images are put back, the keyslots are removed that setup added,
if a passphrase stays, and the configuration goes.`,
		Example: `  latchkey setup
  latchkey setup --kms http://kms.local:7741 --pin lk1:... --yes --key-file key
  latchkey setup --answers answers.yaml --dry-run
  latchkey setup --undo`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			o.host = hosttab.Host{Root: o.update.root}
			in, isFile := c.InOrStdin().(*os.File)
			o.terminal = isFile && isTerminal(in)
			o.interrupt = ctx.Done()
			o.in, o.out, o.err = bufio.NewReader(c.InOrStdin()), c.OutOrStdout(), c.ErrOrStderr()
			if o.undo {
				return o.takeBack()
			}
			return o.run(ctx)
		},
	}

	f := c.Flags()
	f.Var(cli.List(&o.Volumes), "volume", "volumes to open, by UUID or device (default: those that / is on)")
	f.StringVar(&o.KMS, "kms", "", "the KMS, as http://HOST[:PORT]")
	f.Var(cli.List(&o.Pins), "pin", `the key of the KMS, as "latchkey-kms trust" prints it`)
	f.Var(cli.List(&o.Sources), "source", "what opens the volumes, in this order: kms, systemd-tpm2, prompt (default kms, prompt)")
	f.StringVar(&o.Boot, "boot", "", "initramfs, in the distribution's place, or uki, a unified kernel image (default: what fits the boot loader)")
	f.StringVar(&o.Sign, "sign", "", "yes or no: sign a unified kernel image with the Secure Boot keys of sbctl, shim or DKMS that are here (default yes)")
	f.StringVar(&o.answers, "answers", "", "a YAML file with the answers: volumes, kms, pins, sources, boot, sign; - is standard input")
	f.StringVar(&o.keyFile, "key-file", "", "a file with a key that the volumes have, instead of a passphrase that is asked for")
	f.StringVar(&o.tpm, "tpm", tpm.DefaultPath, tpmUsage)
	f.BoolVar(&o.yes, "yes", false, "ask nothing")
	f.BoolVar(&o.dryRun, "dry-run", false, "show what would be done, and do nothing")
	f.BoolVar(&o.undo, "undo", false, "take back what setup did")
	f.BoolVar(&o.escrow, "escrow", false, "leave sealed recovery keys with the key server: latchkey volume recovery-key --escrow")
	f.BoolVar(&o.noCheck, "no-check", false, "do not run latchkey check at the end")
	f.StringVar(&o.update.root, "root", "/", "the root of the system; all paths are below it")
	f.StringVar(&o.update.init, "init", "", "the init to put in (see latchkey image update --help)")
	return c
}

// statePath is where a machine keeps what setup did to it.
const statePath = "/etc/latchkey/setup.json"

func (o *setup) run(ctx context.Context) error {
	o.update.config, o.update.all = defaultConfig, true
	if path := o.update.path(defaultConfig); exists(path) {
		return fmt.Errorf("%s is there: this machine was set up before; latchkey check says how it stands, latchkey setup --undo takes it back", path)
	}
	if err := o.readAnswers(); err != nil {
		return err
	}
	m, err := o.look()
	if err != nil {
		return err
	}
	if err := o.ask(ctx, m); err != nil {
		return err
	}
	p, err := o.compile(m, nil)
	if err != nil {
		return err
	}
	if err := o.show(m, p); err != nil || o.dryRun {
		return err
	}
	if err := o.writable(m); err != nil {
		return err
	}
	if err := o.agreed("Do this?"); err != nil {
		return err
	}
	return o.do(ctx, m)
}

// readAnswers takes those of the file that no flag gives.
func (o *setup) readAnswers() error {
	if o.answers != "" {
		text, err := answerFile(o.answers, o.in)
		if err != nil {
			return err
		}
		var file Answers
		if err := strictyaml.Decode(o.answers, text, &file, strictyaml.Lines{}); err != nil {
			return &cli.Exit{Code: cli.Usage, Err: err}
		}
		for to, from := range map[*[]string][]string{&o.Volumes: file.Volumes, &o.Pins: file.Pins, &o.Sources: file.Sources} {
			if len(*to) == 0 {
				*to = from
			}
		}
		for to, from := range map[*string]string{&o.KMS: file.KMS, &o.Boot: file.Boot, &o.Sign: file.Sign} {
			if *to == "" {
				*to = from
			}
		}
	}
	return o.judgeWords()
}

// judgeWords takes only the words that there are.
func (o *setup) judgeWords() error {
	for _, s := range o.Sources {
		if !slices.Contains(setupSources, s) {
			return cli.Usagef("source %q: setup enrolls %s; for others write latchkey.yaml (docs/sources.md)", s, strings.Join(setupSources, ", "))
		}
	}
	if o.Boot != "" && o.Boot != wayInitramfs && o.Boot != wayUKI {
		return cli.Usagef("boot way %q: want %s or %s", o.Boot, wayInitramfs, wayUKI)
	}
	if o.Sign != "" && o.Sign != "yes" && o.Sign != "no" {
		return cli.Usagef("sign %q: want yes or no", o.Sign)
	}
	return nil
}

// show says in words what will be done, and what a boot will do then.
func (o *setup) show(m *machine, p *plan.Plan) error {
	files, err := o.imagePaths(m)
	if err != nil {
		return err
	}
	fmt.Fprintln(o.out, "What is done now:")
	for i, v := range m.chosen {
		how := "a keyslot is added that "
		var by []string
		if slices.Contains(o.Sources, plan.SourceKMS) {
			by = append(by, "this machine opens with the key server "+o.KMS)
		}
		if slices.Contains(o.Sources, plan.SourceSystemd) {
			by = append(by, "this machine's TPM opens while PCR 7 (Secure Boot) stays")
		}
		if len(by) == 0 {
			how = "nothing is changed"
		}
		fmt.Fprintf(o.out, "  volume %s (%s): %s%s; what opens it now stays\n", p.Volumes[i].Name, v.uuid, how, strings.Join(by, ", and one that "))
	}
	fmt.Fprintf(o.out, "  %s is written\n", defaultConfig)
	for _, f := range files {
		fmt.Fprintf(o.out, "  %s is built; what is in its place is kept beside it\n", f)
	}
	if c := o.image(m); c.BootKey != "" {
		fmt.Fprintf(o.out, "  it is signed for Secure Boot with the key of %s, %s\n", m.keys.of, c.BootKey)
	}
	fmt.Fprintln(o.out, "\nWhat each boot does then:")
	shown, err := o.booted(m, p)
	if err != nil {
		return err
	}
	var what strings.Builder
	shown.print(&what)
	_, err = io.WriteString(o.out, strings.ReplaceAll(what.String(), unsealed, "that is made now"))
	return err
}

func hostWarningsOf(h hosttab.Host, p *plan.Plan) []string {
	list, err := h.Warnings(hostVolumes(p), hostMounts(p))
	if err != nil {
		list = append(list, err.Error())
	}
	return list
}

// booted is the plan as the next boot has it: with what the command line
// changes, which names the root on most machines.
func (o *setup) booted(m *machine, p *plan.Plan) (s shownPlan, err error) {
	file, err := p.Encode()
	if err != nil {
		return s, err
	}
	line, image := textOf(o.update.path("/proc/cmdline")), ""
	if o.Boot == wayUKI {
		image = cmp.Or(m.cmdline, textOf(o.update.path("/etc/kernel/cmdline")))
		line = image
	}
	if s.plan, s.problems, err = plan.Parse(file, line, image); err != nil {
		return s, err
	}
	s.warnings = hostWarningsOf(o.host, s.plan)
	return s, nil
}

// textOf is the one line of a file, "" if it is not there.
func textOf(path string) string {
	text, _ := os.ReadFile(path)
	return strings.TrimSpace(string(text))
}

// imagePaths are the images that will be built.
func (o *setup) imagePaths(m *machine) (paths []string, err error) {
	versions, err := o.update.versions()
	for _, v := range versions {
		files := o.image(m).For(v)
		paths = append(paths, filepath.Join("/", files.Initrd))
		if files.UKI != "" {
			paths[len(paths)-1] = files.UKI
		}
	}
	return paths, err
}
