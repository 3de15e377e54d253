// Latchkey-responder answers multicast DNS on the LAN for a key server
// that cannot do so itself.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"latchkey/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	os.Exit(cli.Main(command(ctx, os.Stdout, os.Stderr), os.Args[1:], os.Stdout, os.Stderr))
}
