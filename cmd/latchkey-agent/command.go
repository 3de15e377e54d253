package main

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"latchkey/boot/agent"
	"latchkey/boot/worker"
	"latchkey/internal/cli"
	"latchkey/internal/hosttab"
	"latchkey/internal/tlsclient"
)

const long = `Gives keys to an early boot that is not latchkey's: the initramfs of
initramfs-tools, dracut or mkinitcpio, which stays as it is. The agent fetches
what opens all volumes of the plan at once, from the same sources as latchkey's
own init (key server, tang, TPM, key files), closes the TPM behind it, and then
answers whoever opens the volumes:

  askpass of Debian's cryptsetup-initramfs, beside the keyboard
  keyscript=latchkey in crypttab(5): latchkey-agent key, without a question
  systemd-cryptsetup, which finds /run/cryptsetup-keys.d/NAME.key by itself
  systemd-ask-password, for volumes of the plan and for no others

The hooks of the package put it into the image and start it; nobody types these
commands. Settings are in /etc/latchkey/agent.conf, the plan is made of
/etc/latchkey/latchkey.yaml, and the image is built as always:

  update-initramfs -u
  dracut --force
  mkinitcpio -P

If no key comes, the tool's own question for a passphrase stays, and the console
says why. When the early boot is over no key can be had: latchkey-agent latch.

In the running system, latchkey-agent beat tells the key server once a minute
that the machine is there: docs/presence.md.

Exit codes: 0 ok, 1 failed, 64 usage.`

const example = `  # what the hooks do: the agent is there when the command returns
  latchkey-agent run --detach --network own --wait 1m

  # what a keyscript does: the key and nothing else on standard output
  latchkey-agent key sda3_crypt

  # a native ZFS root by a key that is never rotated: docs/agent.md
  latchkey-agent key zfs-key | zfs load-key rpool/ROOT

  # in the running system, by a unit of the package
  latchkey-agent beat

  # before the real root is started, and before an emergency shell
  latchkey-agent latch`

// defaultWait is how long those wait who ask for a key.
const defaultWait = time.Minute

func command(ctx context.Context, stdout io.Writer) *cobra.Command {
	c := &cobra.Command{
		Use: "latchkey-agent", Short: "Give keys to the early boot of initramfs-tools, dracut or mkinitcpio",
		Long: long, Example: example, Args: cli.Args(cobra.ArbitraryArgs), RunE: cli.Group,
	}
	c.AddCommand(runCommand(ctx, stdout), keyCommand(ctx, stdout, agent.ControlSocket), latchCommand(ctx), checkCommand(), beatCommand(ctx, os.Stderr))
	return c
}

// system is this machine.
func system(network string) agent.Kernel {
	return agent.Kernel{Kernel: worker.Kernel{Secure: tlsclient.Client, Source: worker.Kairos, Shared: true}, Given: network == "given"}
}

func keyCommand(ctx context.Context, stdout io.Writer, socket string) *cobra.Command {
	var wait time.Duration
	c := &cobra.Command{
		Use: "key NAME", Short: "Print the key of a volume, and nothing else",
		Long: `Prints what opens a volume, without a line's end, for a keyscript, zfs load-key
or cryptsetup --key-file -. NAME is the name of its mapping, its UUID, or a path
of the device that it is on, which is the safest: the key is given only if that
device holds the very volume that was judged. A key is given once.

It waits until the agent has asked all sources. When there is no key it prints
nothing, says why on standard error, and exits 1.`,
		Example: `  latchkey-agent key /dev/sda3 --wait 30s |
      cryptsetup open --key-file - /dev/sda3 root`,
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			key, err := agent.Key(ctx, socket, args[0], wait)
			if err != nil {
				return err
			}
			defer key.Wipe()
			_, err = stdout.Write(key.Reveal())
			return err
		},
	}
	c.Flags().DurationVar(&wait, "wait", defaultWait, "how long to wait for the key")
	return c
}

func latchCommand(ctx context.Context) *cobra.Command {
	return &cobra.Command{
		Use: "latch", Short: "End the early boot: no key can be had any more",
		Long: `Has the agent forget its keys and end, and sees to it that the TPM is closed
(PCR 15 and PCR 11 are extended), also if there is no agent any more. No program
of this boot is given a key by the key server after that. It does so once; in
the running system, where there is no plan, it is refused. An agent that does
not answer in 3 s, or has not closed the TPM after 64 s, is killed. Sockets are
removed.`,
		Example: `  latchkey-agent latch`,
		Args:    cli.Args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			return agent.End(ctx, system(""), agent.OwnSockets, agent.EndWait)
		},
	}
}

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use: "check ROOT", Short: "Check the crypttab of an image that is being built",
		Long: `Looks at etc/crypttab below a folder: tpm2-measure-pcr= there closes the TPM
before the agent has asked for keys, and is an error that names the volume. The
hooks call it, so that it shows when the image is built.`,
		Example: `  latchkey-agent check "$initdir"`,
		Args:    cli.Args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			if info, err := os.Stat(args[0]); err != nil || !info.IsDir() {
				return cli.Usagef("%s is no folder of an image", args[0])
			}
			return agent.CheckCrypttab(hosttab.Host{Root: args[0]}, "")
		},
	}
}

// errNetwork is a flag that is neither.
var errNetwork = errors.New("--network is own (latchkey brings the links up) or given (the tool that made the image does)")
