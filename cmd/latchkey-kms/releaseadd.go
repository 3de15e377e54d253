package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"latchkey/initramfs/uki"
	"latchkey/internal/cli"
	"latchkey/internal/datafile"
	"latchkey/internal/pcr"
	"latchkey/kms/server/lk1"
	"latchkey/kms/server/policy"
	"latchkey/kms/server/release"
)

// maxImage bounds a unified kernel image, in bytes.
const maxImage = 1 << 30

// addFlags are the flags of release add.
type addFlags struct {
	key, signatures, what string
	pcrs                  []string
	boot                  bootFlags
}

func releaseAdd(ask *asker, out *output) *cobra.Command {
	var f addFlags
	c := &cobra.Command{
		Use:   "add NAME [FILE.efi]",
		Short: "Add a release: an image, signatures, files or values",
		Long: `Adds what one build of an image measures. Of a unified kernel image (FILE.efi)
PCR 11 is computed, as it is when a machine asks for its keys; the file is read
here and stays here. If it has signatures (.pcrsig), they are held against that
value.

With --signed-by, PCR 11 may be any value that this key has signed: in the
image's section .pcrsig, or in --signatures.

Without a unified image, --kernel, --initrd and --cmdline say what is booted,
and --loader which boot loaders start it: systemd-boot with entries of type 1
(not its UKIs), or shim and GRUB with Secure Boot on, in the order in which they
start each other; without --loader the firmware starts the kernel. --cmdline is
what /proc/cmdline shows. GRUB measures every file that it reads: --read names
its configuration, modules and fonts, or a folder with all of them. What is
judged then are the events of the machine's log, not the values of PCRs.

PCR 7 is the firmware's; --pcr 7:sha256=... is for machines of one kind. Values
of PCR 4, 8 and 9 are for kms.yaml.`,
		Example: `  latchkey-kms release add 2026.12 latchkey.efi
  latchkey-kms release add 2026.12 latchkey.efi --signed-by pcr.pub
  latchkey-kms release add 2026.12 --signed-by pcr.pub --signatures pcr.json
  latchkey-kms release add 2026.12 --kernel /boot/vmlinuz --initrd /boot/initrd.img --cmdline "root=/dev/mapper/root ro" \
      --loader /boot/efi/EFI/systemd/systemd-bootx64.efi
  latchkey-kms release add 2026.12 --pcr 11:sha256=0b887835b207d821b553ca44b741291079afbda10f2bcf46430eae12f420c30a`,
		Args: cli.Args(cobra.RangeArgs(1, 2)),
		RunE: func(c *cobra.Command, args []string) error {
			n, err := f.release(c.ErrOrStderr(), args)
			if err != nil {
				return err
			}
			var r lk1.ReleaseView
			if err := ask.call(c.Context(), "POST", "/v1/release/add", nil, n, &r); err != nil {
				return err
			}
			return out.show(c, r, func() { printRelease(c.OutOrStdout(), r) })
		},
	}
	c.Flags().StringVar(&f.key, "signed-by", "", "public key, PEM, whose signatures of PCR 11 count")
	c.Flags().StringVar(&f.signatures, "signatures", "", "file of signatures, systemd's JSON; without it, those of FILE.efi")
	c.Flags().Var(cli.List(&f.pcrs), "pcr", "value of PCR 7, 11 or 12: 11:sha256=HEX; repeatable")
	c.Flags().StringVar(&f.what, "note", "", "what people are told of it (default: kernel and command line of FILE.efi)")
	f.boot.add(c)
	return c
}

// release reads the files, and computes what is to be added.
func (f *addFlags) release(warn io.Writer, args []string) (n release.New, err error) {
	n = release.New{Name: args[0], PCRs: map[int]policy.Digest{}, What: f.what}
	for _, text := range f.pcrs {
		var v policy.PCRValue
		if err := v.UnmarshalText([]byte(text)); err != nil {
			return n, cli.Usagef("--pcr: %w", err)
		}
		if _, twice := n.PCRs[v.PCR]; twice {
			return n, cli.Usagef("--pcr: PCR %d has two values", v.PCR)
		}
		n.PCRs[v.PCR] = v.Value
	}

	if f.boot.given() {
		if len(args) == 2 || f.key != "" || f.signatures != "" {
			return n, cli.Usagef("--kernel is for a boot without a unified image: give either that or FILE.efi and its signatures")
		}
		return n, f.boot.chain(&n)
	}
	var sections []uki.Section
	var value [32]byte
	if len(args) == 2 {
		if sections, value, err = readImage(args[1]); err != nil {
			return n, err
		}
		n.What = describe(n.What, sections)
	}

	signatures := section(sections, ".pcrsig")
	if f.signatures != "" {
		if signatures, err = readSmall(f.signatures); err != nil {
			return n, err
		}
	}
	switch {
	case f.key != "":
		key, err := readSmall(f.key)
		if err != nil {
			return n, err
		}
		if signatures == nil {
			return n, cli.Usagef("--signed-by: there are no signatures: give --signatures, or an image with a section .pcrsig")
		}
		n.PublicKey, n.Signatures = string(key), string(signatures)
		return n, signs(signatures, key, value, sections)
	case f.signatures != "":
		return n, cli.Usagef("--signatures needs --signed-by")
	case sections != nil:
		if _, twice := n.PCRs[11]; twice {
			return n, cli.Usagef("--pcr 11 and FILE.efi: PCR 11 is computed from the file")
		}
		n.PCRs[11] = value
		if err := signs(signatures, section(sections, ".pcrpkey"), value, sections); signatures != nil && err != nil {
			fmt.Fprintf(warn, "warning: %v\n", err)
		}
	}
	return n, nil
}

// signs says that signatures do not cover the value that was computed; with
// no image there is none to compare.
func signs(signatures, key []byte, value [32]byte, sections []uki.Section) error {
	signed, err := policy.ReadSigned(signatures, key)
	if err != nil {
		return err
	}
	if sections != nil && !signed[pcr.Policy11(value)] {
		return fmt.Errorf("the image's PCR 11 in phase %s (%x) is not among those that were signed: the image was changed since, or was signed for other phases only", uki.InInitrd, value)
	}
	return nil
}

func readImage(path string) (sections []uki.Section, value [32]byte, err error) {
	image, err := datafile.Read(path, maxImage)
	if err != nil {
		return nil, value, err
	}
	if sections, err = uki.Read(image); err != nil {
		return nil, value, fmt.Errorf("%s: %w", path, err)
	}
	if value, err = uki.Predict(image, uki.InInitrd); err != nil {
		return nil, value, fmt.Errorf("%s: %w", path, err)
	}
	return sections, value, nil
}

func readSmall(path string) ([]byte, error) { return datafile.Read(path, 1<<20) }

func section(sections []uki.Section, name string) []byte {
	i := slices.IndexFunc(sections, func(s uki.Section) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return sections[i].Data
}

// describe names kernel and command line, unless something was said.
func describe(said string, sections []uki.Section) string {
	if said != "" {
		return said
	}
	text := func(name string) string {
		return strings.TrimSpace(strings.TrimRight(string(section(sections, name)), "\x00"))
	}
	what := fmt.Sprintf("kernel %s, %q", text(".uname"), text(".cmdline"))
	return what[:min(len(what), 500)]
}
