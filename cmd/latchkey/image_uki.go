package main

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"latchkey/initramfs"
	"latchkey/initramfs/uki"
	"latchkey/internal/cli"
	"latchkey/internal/datafile"
	"latchkey/internal/meminfo"
	"latchkey/internal/rootdir"
)

type imageUKI struct {
	build                                imageBuild // of the initrd, unless one is given
	initrd, kernel, stub, osrel, cmdline string
	ucode, dtb, sbat                     string
	pcrKey, signature                    string
	bootKey, bootCertificate, signer     string
	phases                               []string
}

func imageUKICommand() *cobra.Command {
	var o imageUKI
	c := &cobra.Command{
		Use:   "uki --config FILE --kernel FILE --cmdline TEXT --output FILE",
		Short: "Build a unified kernel image, whose boot the TPM measures",
		Long: `Uki builds the initramfs as image build does and puts it into one EFI program
with the kernel and its command line. The firmware checks one signature over
all of it, and the boot stub measures every part into PCR 11, so that the key
server can tell this image from any other.

The command prints the PCR 11 value in which the machine asks for its keys;
policy.releases of the key server takes it. With --pcr-key the image carries
a signature of that value, and the key server needs the public key only once.
The same inputs give the same bytes, signatures for Secure Boot aside.`,
		Example: `  # sign for Secure Boot, and sign the measurement
  latchkey image uki --config /etc/latchkey.yaml --kernel /boot/vmlinuz-$(uname -r) --cmdline "root=/dev/mapper/root ro" \
    --boot-key db.key --boot-cert db.pem --pcr-key pcr.key --output /boot/efi/EFI/Linux/latchkey.efi

  # the key for Secure Boot is in a token: sign with sbsign's PKCS#11 engine
  latchkey image uki --config shop.yaml --kernel vmlinuz --modules ./lib/modules/6.12.9 --cmdline ro \
    --boot-key "pkcs11:token=shop;object=db" --boot-cert db.pem --output shop.efi

  # what is in it
  latchkey image ls shop.efi`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c.OutOrStdout(), c.ErrOrStderr()) },
	}

	f := c.Flags()
	o.build.flags(f)
	f.StringVar(&o.initrd, "initrd", "", "take this initramfs instead of building one from --config")
	f.StringVar(&o.kernel, "kernel", "", "the kernel, an EFI program such as /boot/vmlinuz-VERSION (required)")
	f.StringVar(&o.cmdline, "cmdline", "", "the kernel command line, or @FILE (required)")
	f.StringVar(&o.stub, "stub", "", "the boot stub (default: systemd's for the kernel's architecture, package systemd-boot-efi)")
	f.StringVar(&o.osrel, "os-release", "/etc/os-release", "the file that names the system in boot menus")
	f.StringVar(&o.ucode, "ucode", "", "CPU microcode as an uncompressed cpio archive, as a section of its own; image build puts it into the initramfs")
	f.StringVar(&o.dtb, "dtb", "", "a device tree for the kernel, in place of the firmware's")
	f.StringVar(&o.sbat, "sbat", "", "lines to add to the stub's SBAT section, or @FILE")
	f.StringVar(&o.pcrKey, "pcr-key", "", "RSA private key, PEM, that signs the expected PCR 11")
	f.StringVar(&o.signature, "pcr-signature", "", "also write the signature for enter-initrd to this file, for policy.releases of the key server")
	o.phases = []string{uki.InInitrd}
	f.Var(cli.List(&o.phases), "phase", "phases to sign PCR 11 for, words joined by ':'; the key server needs enter-initrd only")
	f.StringVar(&o.bootKey, "boot-key", "", "key that signs for Secure Boot: a PEM file, or a pkcs11: URI")
	f.StringVar(&o.bootCertificate, "boot-cert", "", "its certificate, PEM")
	f.StringVar(&o.signer, "sign-with", "", "instead of --boot-key: a program that is called with the unsigned and the signed file's names")
	return c
}

// maxPart bounds what an image is made of, in bytes.
const maxPart = 1 << 30

func (o *imageUKI) run(stdout, stderr io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}

	kernel, err := datafile.Read(o.kernel, maxPart)
	if err != nil {
		return fmt.Errorf("reading the kernel: %w", err)
	}
	stub, err := o.readStub(kernel)
	if err != nil {
		return err
	}

	initrd, version, err := o.readInitrd(kernel, stderr)
	if err != nil {
		return err
	}
	sections, err := o.sections(stub, kernel, initrd, version)
	if err != nil {
		return err
	}
	image, err := stub.Build(sections)
	if err != nil {
		return err
	}

	by, err := o.write(image)
	if err != nil {
		return err
	}
	warnReadable(stderr, imageAt(o.build.output))
	return o.print(stdout, stub, sections, version, by)
}

func (o *imageUKI) check() error {
	switch {
	case o.kernel == "" || o.cmdline == "" || o.build.output == "":
		return cli.Usagef("--kernel, --cmdline and --output are required (see latchkey image uki --help)")
	case (o.build.config == "") == (o.initrd == ""):
		return cli.Usagef("give either --config, to build an initramfs, or --initrd, to take one")
	case (o.bootKey == "") != (o.bootCertificate == ""):
		return cli.Usagef("--boot-key and --boot-cert go together")
	case o.signature != "" && o.pcrKey == "":
		return cli.Usagef("--pcr-signature needs --pcr-key")
	case o.pcrKey != "" && !slices.Contains(o.phases, uki.InInitrd):
		return cli.Usagef("--phase: without %s among them no signature is for the state in which the machine asks for its keys", uki.InInitrd)
	case o.signer != "" && o.bootKey != "":
		return cli.Usagef("--sign-with and --boot-key are mutually exclusive")
	case o.signature != "" && o.signature == o.build.output:
		return cli.Usagef("--output and --pcr-signature are the same file, %s", o.signature)
	}
	return checkOutput(o.build.output, o.inputs())
}

// readStub reads the stub that was named, or systemd's for the processor
// that the kernel is for.
func (o *imageUKI) readStub(kernel []byte) (*uki.Stub, error) {
	arch := uki.Machine(kernel)
	if arch == "" {
		return nil, fmt.Errorf("%s is no EFI program: the kernel needs CONFIG_EFI_STUB", o.kernel)
	}

	path := o.stub
	if path == "" {
		path = "/usr/lib/systemd/boot/efi/linux" + arch + ".efi.stub"
		if own := rootdir.Path(o.build.root(), path); exists(own) {
			path = own
		}
	}
	data, err := datafile.Read(path, maxPart)
	if err != nil {
		return nil, fmt.Errorf("reading the boot stub: %w (apt install systemd-boot-efi, or name one with --stub)", err)
	}
	stub, err := uki.ReadStub(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if stub.Machine() != arch {
		return nil, fmt.Errorf("the kernel %s is for %s and the boot stub %s for %s", o.kernel, arch, path, stub.Machine())
	}
	return stub, nil
}

// readInitrd builds the initramfs or reads the one that was named; version
// is the kernel's, "" if nothing tells.
func (o *imageUKI) readInitrd(kernel []byte, stderr io.Writer) (initrd []byte, version string, err error) {
	version = kernelVersion(kernel)
	if o.initrd != "" {
		initrd, err = datafile.Read(o.initrd, maxPart)
		if err != nil {
			return nil, "", fmt.Errorf("reading the initramfs: %w", err)
		}
		if err := initramfs.Recognize(initrd); err != nil {
			return nil, "", fmt.Errorf("--initrd %s: %w", o.initrd, err)
		}
		return initrd, version, nil
	}

	if o.build.kernel == "" && version != "" {
		o.build.kernel = version
	}
	options, err := o.build.options()
	if err != nil {
		return nil, "", err
	}
	if m := filepath.Base(options.Modules); version != "" && m != version {
		return nil, "", fmt.Errorf("the kernel %s is version %s, the modules are of %s", o.kernel, version, m)
	}

	if p, err := options.Config.Plan(); err == nil { // Build names what is wrong with it
		if err := warnPlan(stderr, o.build.root(), p); err != nil {
			return nil, "", err
		}
		key, err := o.signingKey()
		if err != nil {
			return nil, "", err
		}
		for _, text := range signerWarnings(rootdir.Path(o.build.root(), byUUID), p, key) {
			fmt.Fprintln(stderr, "warning:", text)
		}
	}
	var out bytes.Buffer
	result, err := initramfs.Build(&out, *options)
	if err != nil {
		return nil, "", err
	}
	for _, text := range result.Warnings {
		fmt.Fprintln(stderr, "warning:", text)
	}
	o.build.unpacked = result.Unpacked
	return out.Bytes(), filepath.Base(options.Modules), nil
}

// kernelVersion reads the version out of an x86 kernel: kernel_version of
// the setup header points to it (Documentation/arch/x86/boot.rst).
func kernelVersion(kernel []byte) string {
	if len(kernel) < 0x210 || string(kernel[0x202:0x206]) != "HdrS" {
		return ""
	}
	at := int(binary.LittleEndian.Uint16(kernel[0x20e:])) + 0x200
	if at >= len(kernel) {
		return ""
	}
	text, _, _ := bytes.Cut(kernel[at:min(at+128, len(kernel))], []byte{0})
	version, _, _ := strings.Cut(string(text), " ")
	return version
}

func (o *imageUKI) print(stdout io.Writer, stub *uki.Stub, sections []uki.Section, version, by string) error {
	path := o.build.output
	if o.build.installs {
		path = imageAt(path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	value := stub.PCR11(sections, uki.InInitrd)
	pcr := "11:sha256=" + hex.EncodeToString(value[:])
	if o.build.json {
		return json.NewEncoder(stdout).Encode(map[string]any{
			"image": path, "size_bytes": info.Size(), "kernel": version, "stub": stub.Version(), "pcr": pcr,
			"unpacked_bytes": o.build.unpacked, "needs_memory_bytes": meminfo.ForImage(o.build.unpacked),
			"pcr_signed": o.pcrKey != "", "boot_signed_by": by,
		})
	}

	fmt.Fprintf(stdout, "%s: %d bytes, kernel %s, %s\n", path, info.Size(), cmp.Or(version, "of unknown version"), stub.Version())
	fmt.Fprintln(stdout, memoryWords(o.build.unpacked))
	fmt.Fprintf(stdout, "PCR 11 when the machine asks for its keys: %s\n", pcr)
	if by == "" {
		fmt.Fprintln(stdout, "not signed for Secure Boot: firmware that checks signatures will not start it (--boot-key, --boot-cert)")
	} else {
		fmt.Fprintf(stdout, "signed for Secure Boot: %s\n", by)
	}
	if o.pcrKey != "" {
		fmt.Fprintf(stdout, "PCR 11 is signed by %s, for: %s\n", o.pcrKey, strings.Join(o.phases, " "))
	}
	return nil
}
