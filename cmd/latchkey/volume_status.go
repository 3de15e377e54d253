package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	bootreport "latchkey/boot/report"
	"latchkey/internal/cli"
	"latchkey/internal/meminfo"
	"latchkey/internal/plan"
	"latchkey/unlock/luks2"
)

// volumeStatus is what status prints.
type volumeStatus struct {
	UUID     string           `json:"uuid"`
	Label    string           `json:"label,omitempty"`
	Keyslots []standingSlot   `json:"keyslots"`
	Name     string           `json:"name,omitempty"` // in the plan
	Sources  []standingSource `json:"sources,omitempty"`
	Unused   []int            `json:"unused,omitempty"` // keyslots that no source of the plan opens
	Warnings []string         `json:"warnings,omitempty"`
}

func volumeStatusCommand() *cobra.Command {
	var planFile string
	var asJSON bool
	c := &cobra.Command{
		Use:   "status IMAGE-OR-DEVICE",
		Short: "Show who opens a volume, keyslot by keyslot",
		Long: `Status lists a volume's keyslots with what each is for, and which of them
opened the volume in this boot. With --plan, an image or a latchkey.yaml, it
says for each source of the volume which keyslots it opens, or why none, and
which keyslots no source opens. It goes by what the header says, needs no key
and writes nothing.`,
		Example: `  latchkey volume status root.luks2
  latchkey volume status --json /dev/vda2 | grep opened || true`,
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			f, h, err := readVolumeOrBackup(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			s, err := standing(h, planFile)
			if err != nil {
				return err
			}
			s.Warnings = append(memberWarnings(f), s.Warnings...)
			if asJSON {
				return printJSON(c.OutOrStdout(), s)
			}
			return s.print(c.OutOrStdout(), planFile)
		},
	}

	c.Flags().StringVar(&planFile, "plan", "", "an image, or a latchkey.yaml, whose sources are compared")
	c.Flags().BoolVar(&asJSON, "json", false, "print the status as JSON")
	return c
}

func standing(h *luks2.Header, planFile string) (s volumeStatus, err error) {
	s = volumeStatus{UUID: h.UUID(), Label: h.Label(), Keyslots: slotsOfHeader(h), Warnings: warnings(h, luks2.NewMemory(meminfo.Total()))}
	opened, err := openedBy(bootreport.File, h.UUID())
	if err != nil {
		s.Warnings = append(s.Warnings, err.Error())
	}
	for i, k := range s.Keyslots {
		s.Keyslots[i].Opened = k.ID == opened
	}
	if planFile == "" {
		return s, nil
	}

	p, v, err := plannedVolume(planFile, h.UUID())
	if err != nil {
		return s, err
	}
	s.Name, s.Sources = v.Name, sourcesOf(p, v, h)
	if slices.ContainsFunc(s.Sources, func(from standingSource) bool { return from.What == unseen }) {
		return s, nil // any may be its
	}
	for _, k := range s.Keyslots {
		if !slices.ContainsFunc(s.Sources, func(from standingSource) bool { return slices.Contains(from.Keyslots, k.ID) }) {
			s.Unused = append(s.Unused, k.ID)
		}
	}
	return s, nil
}

// plannedVolume finds a volume in the plan of an image or a configuration.
func plannedVolume(path, uuid string) (*plan.Plan, plan.Volume, error) {
	from, err := readPlan(path)
	if err != nil {
		return nil, plan.Volume{}, err
	}
	p, _, err := plan.Parse(from.plan, from.cmdline, from.cmdline)
	if err != nil {
		return nil, plan.Volume{}, fmt.Errorf("%s: %w", path, err)
	}
	i := slices.IndexFunc(p.Volumes, func(v plan.Volume) bool { return v.UUID == uuid })
	if i < 0 {
		return nil, plan.Volume{}, fmt.Errorf("the plan %s has no volume %s", path, uuid)
	}
	return p, p.Volumes[i], nil
}

func (s volumeStatus) print(w io.Writer, planFile string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "volume\t%s %q\n", s.UUID, s.Label)
	for _, k := range s.Keyslots {
		opened := ""
		if k.Opened {
			opened = "; it opened the volume in this boot"
		}
		fmt.Fprintf(t, "keyslot %d\t%s%s\n", k.ID, k.What, opened)
	}
	if len(s.Keyslots) == 0 {
		fmt.Fprintf(t, "keyslots\tnone: nothing but a backup of its header opens it\n")
	}
	if planFile != "" {
		fmt.Fprintf(t, "plan\t%s, volume %s\n", planFile, s.Name)
	}
	for _, from := range s.Sources {
		switch {
		case from.What == unseen:
			fmt.Fprintf(t, "by %s\t%s\n", from.Name, from.What)
		case len(from.Keyslots) == 0:
			fmt.Fprintf(t, "by %s\tnothing: %s\n", from.Name, from.What)
		case from.What != "":
			fmt.Fprintf(t, "by %s\t%s: %s\n", from.Name, slotWords(from.Keyslots), from.What)
		default:
			fmt.Fprintf(t, "by %s\t%s\n", from.Name, slotWords(from.Keyslots))
		}
	}
	if len(s.Unused) > 0 {
		fmt.Fprintf(t, "by none\t%s\n", slotWords(s.Unused))
	}
	for _, text := range s.Warnings {
		fmt.Fprintf(t, "warning\t%s\n", text)
	}
	return t.Flush()
}

// slotWords is "keyslot 1", or "keyslots 0, 2".
func slotWords(ids []int) string {
	if len(ids) == 1 {
		return fmt.Sprintf("keyslot %d", ids[0])
	}
	return "keyslots " + strings.Join(strings.Fields(strings.Trim(fmt.Sprint(ids), "[]")), ", ")
}
