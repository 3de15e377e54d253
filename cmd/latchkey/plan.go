package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"latchkey/initramfs"
	"latchkey/internal/cli"
	"latchkey/internal/plan"
)

func planCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "plan",
		Short: "Show what a boot would do",
		Args:  cli.Args(cobra.ArbitraryArgs),
		RunE:  cli.Group,
	}
	c.AddCommand(planShowCommand(), planSchemaCommand())
	return c
}

func planShowCommand() *cobra.Command {
	var cmdline string
	var asJSON bool
	c := &cobra.Command{
		Use:   "show IMAGE-OR-CONFIG",
		Short: "Show the plan of an image, or of a latchkey.yaml, in words",
		Long: `Show prints all that a boot will do: the plan of the image, refined by the
options of a kernel command line. It also lists what the boot will not do:
the options that the init ignores, with the reason, and those that it leaves
to the kernel and the real root. It compares the names of the volumes with
/etc/crypttab and /etc/fstab of this machine.`,
		Example: `  latchkey plan show /boot/initrd.img-$(uname -r) --cmdline "$(cat /proc/cmdline)"
  latchkey plan show latchkey.yaml --cmdline 'ip=dhcp6 rd.latchkey.kms=http://kms2.local'`,
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			source, err := readPlan(args[0])
			if err != nil {
				return err
			}
			if cmdline == "" {
				cmdline = source.cmdline
			}
			s := shownPlan{cmdline: cmdline, modules: source.modules, unpacked: source.unpacked}
			if s.plan, s.problems, err = plan.Parse(source.plan, cmdline, source.cmdline); err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			s.warnings = hostWarnings("/", s.plan)
			if source.noTLS && s.plan.NeedsTLS() {
				s.warnings = append(s.warnings, "the init of this image has no TLS, and the plan needs the one that has (servers over TLS, or the source kairos): build the image again")
			}
			if asJSON {
				return s.printJSON(c.OutOrStdout())
			}
			s.print(c.OutOrStdout())
			return nil
		},
	}

	c.Flags().StringVar(&cmdline, "cmdline", "", "kernel command line to apply (default: the one of a unified kernel image)")
	c.Flags().BoolVar(&asJSON, "json", false, "print the plan file's JSON")
	return c
}

// A planSource is what an image, or a configuration, says of a boot.
type planSource struct {
	plan     []byte          // the plan file
	unpacked int64           // of an image, in bytes
	cmdline  string          // of a unified kernel image
	modules  *plan.Modules   // nil for a configuration
	noTLS    bool            // it is an image whose init has no TLS
	tree     *initramfs.Tree // of an image, nil for a configuration
	kernel   []byte          // of a unified kernel image
}

// readPlan takes the plan out of an image, or compiles a configuration.
func readPlan(path string) (planSource, error) { return readPlanBelow("", path) }

// readPlanBelow is readPlan of the system below a root directory.
func readPlanBelow(root, path string) (planSource, error) {
	data, err := readImage(path)
	if err != nil {
		return planSource{}, err
	}

	sections, image, err := unwrap(data)
	if err != nil {
		return planSource{}, fmt.Errorf("%s: %w", path, err)
	}
	if !isImage(data) {
		config, err := initramfs.ReadConfigBelow(root, path, bytes.NewReader(data))
		if err != nil && isUnclear(data) {
			err = fmt.Errorf("%w (and it is no image)", err)
		}
		if err != nil {
			return planSource{}, &cli.Exit{Code: cli.Usage, Err: err}
		}
		p, err := config.Plan()
		if err != nil {
			return planSource{}, &cli.Exit{Code: cli.Usage, Err: err}
		}
		file, err := p.Encode()
		return planSource{plan: file}, err
	}

	found, err := planOf(image)
	if err != nil {
		return planSource{}, fmt.Errorf("%s: %w", path, err)
	}
	for _, s := range sections {
		if s.Name == ".linux" {
			found.kernel = s.Data
		}
	}
	if found.plan == nil {
		return planSource{}, errors.New(path + " holds no plan: it was not made by latchkey image build")
	}
	return found, nil
}

// isImage tells an image from a configuration, by how it begins: zeros are
// what the kernel skips between archives.
func isImage(data []byte) bool {
	return bytes.HasPrefix(data, []byte("MZ")) || bytes.HasPrefix(data, make([]byte, 4)) || initramfs.Recognize(data) == nil
}

// isUnclear tells whether a file may be meant as either: it begins as no image
// does, and not as text.
func isUnclear(data []byte) bool {
	head := data[:min(len(data), 256)]
	utf16 := bytes.HasPrefix(head, []byte("\xff\xfe")) || bytes.HasPrefix(head, []byte("\xfe\xff"))
	for i := 0; i < utf8.UTFMax && len(head) < len(data) && !utf8.Valid(head); i++ {
		head = head[:len(head)-1] // a rune that is cut in two
	}
	return !utf16 && !utf8.Valid(head)
}

// planOf reads an image as the kernel would unpack it, so that what is shown
// is what boots: a file that is there twice is refused.
func planOf(image []byte) (found planSource, err error) {
	entries, err := initramfs.List(image)
	if err != nil {
		return found, err
	}
	tree := initramfs.Unpacked(entries)
	found.tree = tree
	file := func(name string) []byte {
		e, fileErr := tree.File(name)
		if err == nil {
			err = fileErr
		}
		if e == nil || fileErr != nil {
			return nil
		}
		return e.Data
	}

	found.noTLS = !initramfs.HasTLS(file("/init"))
	found.plan, found.cmdline = file(planFile), string(file(initramfs.CmdlineFile))
	found.unpacked, _ = strconv.ParseInt(strings.TrimSpace(string(file(initramfs.SizeFile))), 10, 64)
	if modules := file(plan.ModulesFile); modules != nil && err == nil {
		found.modules, err = plan.DecodeModules(modules)
	}
	return found, err
}

// planFile is where an image has its plan.
const planFile = "/plan.json"

// A shownPlan is what plan show prints.
type shownPlan struct {
	plan     *plan.Plan
	unpacked int64 // of an image, in bytes
	cmdline  string
	modules  *plan.Modules
	problems []plan.Problem
	warnings []string
}

func (s shownPlan) printJSON(w io.Writer) error {
	var reasons []string
	for _, problem := range s.problems {
		reasons = append(reasons, problem.String())
	}
	return json.NewEncoder(w).Encode(map[string]any{
		"plan": s.plan, "problems": reasons, "warnings": s.warnings, "left_to_others": plan.Unread(s.cmdline),
	})
}

func (s shownPlan) print(w io.Writer) {
	for _, part := range plan.Describe(s.plan) {
		if part.Title == "modules" {
			part.Lines = append(part.Lines, s.parameters()...)
		}
		fmt.Fprintf(w, "%s\n", part.Title)
		for _, line := range part.Lines {
			fmt.Fprintf(w, "  %s\n", line)
		}
	}

	if left := s.leftToOthers(); len(left) > 0 {
		fmt.Fprintf(w, "left to the kernel and the real root\n  %s\n", strings.Join(left, " "))
	}
	if len(s.problems) > 0 {
		fmt.Fprintln(w, "ignored, in whole or in part")
		for _, problem := range s.problems {
			fmt.Fprintf(w, "  %s\n", problem)
		}
	}
	for _, text := range s.warnings {
		fmt.Fprintln(w, "warning:", text)
	}
}

// parameters are the modules of the image that get any.
func (s shownPlan) parameters() (lines []string) {
	if s.modules == nil {
		return nil
	}
	s.modules.Configure(s.cmdline)
	for _, m := range s.modules.List {
		if m.Params != "" {
			lines = append(lines, fmt.Sprintf("%s gets %s", m.Name(), m.Params))
		}
	}
	if s.unpacked > 0 {
		lines = append(lines, memoryWords(s.unpacked))
	}
	return append(lines, fmt.Sprintf("%d modules are in the image", len(s.modules.List)))
}

// leftToOthers are the words that nothing of the init reads, less those that
// are a parameter of a module in the image.
func (s shownPlan) leftToOthers() []string {
	return slices.DeleteFunc(plan.Unread(s.cmdline), func(word string) bool {
		module, _, dotted := strings.Cut(word, ".")
		return dotted && s.modules != nil && s.modules.Find(module) >= 0
	})
}
