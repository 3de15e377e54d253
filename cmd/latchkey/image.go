package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"latchkey/initramfs"
	"latchkey/internal/cli"
	"latchkey/internal/datafile"
	"latchkey/internal/hosttab"
	"latchkey/internal/meminfo"
	"latchkey/internal/rootdir"
)

func imageCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "image",
		Short: "Build and look into initramfs images",
		Args:  cli.Args(cobra.ArbitraryArgs),
		RunE:  cli.Group,
	}
	c.AddCommand(imageBuildCommand(), imageUKICommand(), imageUpdateCommand(), imageListCommand(), imageStatusCommand(), imageAgentCommand())
	return c
}

type imageBuild struct {
	config, kernel, modules, init, output string
	talos                                 string // a configuration of Talos whose volumes are taken; "" is none
	kairos                                string // a folder of cloud-configs of Kairos, whose partitions are taken; "" is none
	system                                string // the root of the system that the image is for, whose init comes first; "" has none
	firmware, microcode                   []string
	level                                 int
	json                                  bool
	installs                              bool  // it goes where the boot loader looks: what is there is kept
	unpacked                              int64 // of the image that was built, in bytes
}

func imageBuildCommand() *cobra.Command {
	var o imageBuild
	c := &cobra.Command{
		Use:   "build --config FILE --output FILE",
		Short: "Build the initramfs image of a machine",
		Long: `Build checks latchkey.yaml, compiles it into the image's plan, gathers the
kernel modules that the machine needs, and writes one initramfs: early CPU
microcode, then init, plan and modules as zstd. The same inputs give the
same bytes. docs/plan.md describes every field of the configuration.`,
		Example: `  # for the kernel that runs now
  latchkey image build --config /etc/latchkey.yaml --output /boot/initrd-latchkey.img

  # the volumes that Talos Linux encrypted on this machine
  latchkey image build --config /etc/latchkey.yaml --talos worker.yaml --output /boot/initrd-latchkey.img

  # for a kernel that is unpacked elsewhere
  latchkey image build --config shop.yaml --modules ./root/lib/modules/6.1.0-56-amd64 --output shop.img`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c.OutOrStdout(), c.ErrOrStderr()) },
	}

	o.flags(c.Flags())
	return c
}

// flags are those that say what the initramfs is built of.
func (o *imageBuild) flags(f *pflag.FlagSet) {
	f.StringVar(&o.config, "config", "", "the configuration, YAML (required)")
	f.StringVar(&o.talos, "talos", "", "a configuration of Talos Linux: its encrypted volumes are taken, as they are on this machine")
	f.StringVar(&o.kairos, "kairos", "", "folder with cloud-configs of Kairos, such as /oem: its encrypted partitions are taken")
	f.StringVar(&o.output, "output", "", "the image to write (required)")
	f.StringVar(&o.kernel, "kernel-version", "", "kernel version whose modules in /lib/modules to use (default: the running kernel's)")
	f.StringVar(&o.modules, "modules", "", "folder that holds modules.dep, instead of --kernel-version")
	f.StringVar(&o.init, "init", "", "the init to put in (default: latchkey-init or, where a server is asked over TLS, latchkey-init-tls, beside this command or in /usr/lib/latchkey)")
	o.firmware = []string{"/lib/firmware/updates", "/lib/firmware"}
	f.Var(cli.List(&o.firmware), "firmware", "folders to take the modules' firmware from")
	o.microcode = []string{"/lib/firmware"}
	f.Var(cli.List(&o.microcode), "microcode", "folders that hold intel-ucode and amd-ucode; '' leaves microcode out")
	f.IntVar(&o.level, "level", 19, "zstd level, 1 to 22; the encoder has four: 1-2, 3-5, 6-9, and from 10 on its best, about zstd's own 11")
	f.BoolVar(&o.json, "json", false, "print what was built as JSON")
}

func (o *imageBuild) run(stdout, stderr io.Writer) error {
	if o.config == "" || o.output == "" {
		return cli.Usagef("--config and --output are required (see latchkey image build --help)")
	}
	options, err := o.options()
	if err != nil {
		return err
	}
	p, err := options.Config.Plan()
	if err != nil {
		return &cli.Exit{Code: cli.Usage, Err: err}
	}
	if err := warnPlan(stderr, o.root(), p); err != nil {
		return err
	}

	result, err := o.write(stderr, options)
	if errors.Is(err, unix.ENOSPC) && o.installs {
		if made, roomErr := newPlace(o.output).makeRoom(); made {
			result, err = o.write(stderr, options)
		} else if roomErr != nil {
			err = errors.Join(err, roomErr)
		}
	}
	if err != nil {
		return roomAdvice(err, o.output)
	}
	warnReadable(stderr, o.output)
	return o.print(stdout, result)
}

// write builds the image beside its place. The old one stays there until the
// new one is whole, on the disk, and was read back.
func (o *imageBuild) write(stderr io.Writer, options *initramfs.Options) (*initramfs.Result, error) {
	at := newPlace(o.output)
	at.sweep()
	tmp, err := os.CreateTemp(filepath.Dir(o.output), "."+filepath.Base(o.output)+"-*")
	if err != nil {
		return nil, fmt.Errorf("writing the image: %w", err)
	}
	defer tmp.Close() // its lock ends with it
	defer os.Remove(tmp.Name())
	hold(tmp)
	to := newSummed(tmp)
	result, err := initramfs.Build(to, *options)
	if err != nil {
		return nil, err
	}

	for _, text := range result.Warnings {
		fmt.Fprintln(stderr, "warning:", text)
	}
	if err := errors.Join(tmp.Chmod(0o600), tmp.Sync()); err != nil {
		return nil, fmt.Errorf("writing the image: %w", err)
	}
	if err := readBack(tmp.Name(), to.sum.Sum(nil)); err != nil {
		return nil, err
	}
	if !o.installs {
		err = datafile.Replace(tmp.Name(), o.output)
	} else {
		err = at.install(tmp.Name())
	}
	if err != nil {
		return nil, fmt.Errorf("writing the image: %w", err)
	}
	return result, nil
}

func (o *imageBuild) options() (*initramfs.Options, error) {
	config, err := readConfigBelow(o.root(), o.config)
	if err != nil {
		return nil, err
	}

	if o.talos != "" {
		if err := addTalos(config, o.talos, byPartLabel); err != nil {
			return nil, &cli.Exit{Code: cli.Usage, Err: err}
		}
	}

	if o.kairos != "" {
		if err := addKairos(config, o.kairos, byLabel); err != nil {
			return nil, &cli.Exit{Code: cli.Usage, Err: err}
		}
	}

	if o.modules == "" {
		if o.kernel == "" {
			o.kernel = runningKernel()
		}
		o.modules = filepath.Join("/lib/modules", o.kernel)
	}

	p, err := config.Plan()
	if err != nil {
		return nil, &cli.Exit{Code: cli.Usage, Err: err}
	}
	if o.init == "" {
		o.init = o.findInit(initramfs.InitName(p))
	}
	if o.level < 1 || o.level > 22 {
		return nil, cli.Usagef("--level is %d, want 1 to 22", o.level)
	}
	if err := checkOutput(o.output, o.inputs(config, p)); err != nil {
		return nil, err
	}

	return &initramfs.Options{Config: config, Modules: o.modules, Init: o.init, Firmware: o.firmware, Microcode: o.microcode, Host: hosttab.Host{Root: o.root()}, Modprobe: initramfs.ModprobeDirs(o.root()), Level: o.level, Compressors: initramfs.FindCompressors(), Ciphers: func(uuid string) []string { return hostCiphers(rootdir.Path(o.root(), byUUID), uuid) }}, nil
}

// readConfig reads a latchkey.yaml: what is wrong in it is a usage error.
func readConfig(path string) (*initramfs.Config, error) { return readConfigBelow("/", path) }

// readConfigBelow reads that of the system below a root directory, which has
// the files that it names.
func readConfigBelow(root, path string) (*initramfs.Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	defer f.Close()
	config, err := initramfs.ReadConfigBelow(below(root), path, f)
	if err != nil {
		return nil, &cli.Exit{Code: cli.Usage, Err: err}
	}
	return config, nil
}

// below is a root directory under which a system's files are, "" for those of
// this one: then a relative name is the shell's.
func below(root string) string {
	if rootdir.Here(root) {
		return ""
	}
	return root
}

// root is that of the system that the image is for.
func (o *imageBuild) root() string { return cmp.Or(o.system, "/") }

func runningKernel() string {
	var u unix.Utsname
	unix.Uname(&u) // cannot fail with a valid pointer: uname(2)
	return unix.ByteSliceToString(u.Release[:])
}

func (o *imageBuild) print(stdout io.Writer, r *initramfs.Result) error {
	info, err := os.Stat(o.output)
	if err != nil {
		return err
	}
	if o.json {
		return json.NewEncoder(stdout).Encode(map[string]any{
			"image": o.output, "size_bytes": info.Size(), "unpacked_bytes": r.Unpacked, "needs_memory_bytes": meminfo.ForImage(r.Unpacked),
			"modules": r.Modules, "modules_in_blocks": r.InBlocks, "compressed": r.Compressed, "missing_firmware": r.Missing, "plan": r.Plan,
		})
	}
	fmt.Fprintf(stdout, "%s: %d bytes, %d modules, %d of them in blocks\n%s\n%s\nplan: %s\n", o.output, info.Size(), r.Modules, r.InBlocks, r.Compressed, memoryWords(r.Unpacked), r.Plan)
	if len(r.Missing) > 0 {
		fmt.Fprintf(stdout, "firmware that modules name and no folder has (%d): %s\n", len(r.Missing), strings.Join(r.Missing, " "))
	}
	return nil
}

// memoryWords says what an image costs at boot.
func memoryWords(unpacked int64) string {
	return fmt.Sprintf("unpacked: %d MB; a machine needs about %d MB of memory to boot it", (unpacked+1<<20-1)>>20, meminfo.ForImage(unpacked)>>20)
}
