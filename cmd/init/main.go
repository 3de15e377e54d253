// Init is PID 1 of the initramfs, and its two children: the worker that
// finds and opens the volumes, and the latch that measures into the TPM.
package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"strconv"

	"latchkey/boot"
	"latchkey/boot/latch"
	"latchkey/boot/wire"
	"latchkey/boot/worker"
	"latchkey/internal/version"
)

func main() {
	if err := run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "latchkey-init:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	// A boot is short and small: the collector runs only if something grows.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(32 << 20)
	if os.Getpid() == 1 {
		return boot.Run(&boot.Kernel{})
	}

	if len(args) == 2 && args[1] == "--version" {
		fmt.Println("latchkey-init version", version.String())
		return nil
	}
	if len(args) != 3 {
		return fmt.Errorf("this is the init of an initramfs, to be run by the kernel: put it into an image with 'latchkey image build'")
	}
	incarnation, err := strconv.Atoi(args[2])
	if err != nil {
		return fmt.Errorf("reading the incarnation: %w", err)
	}

	conn, err := wire.Inherited()
	if err != nil {
		return err
	}

	switch args[1] {
	case "worker":
		return worker.Run(worker.Kernel{Secure: secure, Source: kairos}, conn, incarnation)
	case "latch":
		return latch.Run(latch.Kernel{}, conn, incarnation)
	}

	return fmt.Errorf("there is no role %q", args[1])
}
