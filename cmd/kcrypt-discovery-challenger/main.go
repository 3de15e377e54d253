// Kcrypt-discovery-challenger takes the place of Kairos' executable of that
// name: it asks a key server for the passphrases of encrypted partitions.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"latchkey/internal/cli"
	"latchkey/internal/cloudconfig"
)

func main() {
	os.Exit(run(&options{dirs: cloudconfig.Dirs, commandLine: "/proc/cmdline"}))
}

// run runs the executable with the machine's settings.
func run(o *options) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// Whatever holds it up: a signal ends it.
	context.AfterFunc(ctx, func() {
		time.AfterFunc(3*usual.ending, func() {
			fmt.Fprintln(os.Stderr, "kcrypt-discovery-challenger: interrupted")
			os.Exit(cli.Failed)
		})
	})
	o.limits = usual
	o.getenv, o.stdin, o.stdout, o.stderr = os.Getenv, os.Stdin, os.Stdout, os.Stderr
	return cli.Main(command(ctx, o), os.Args[1:], os.Stdout, os.Stderr)
}
