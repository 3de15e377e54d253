// Latchkey-agent gives keys to the early boot of initramfs-tools, dracut or
// mkinitcpio: wiring only, boot/agent is what it does.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"latchkey/internal/cli"
)

func main() {
	// Early boot is short and has little memory, as cmd/init has it.
	debug.SetMemoryLimit(32 << 20)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	os.Exit(cli.Main(command(ctx, os.Stdout), os.Args[1:], os.Stdout, os.Stderr))
}
