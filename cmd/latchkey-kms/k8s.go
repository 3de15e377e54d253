package main

import (
	"github.com/spf13/cobra"

	k8skeeper "latchkey/kms/server/k8s/keeper"

	"latchkey/internal/cli"
	"latchkey/kms/config"
)

func k8sCommand(ask *asker, out *output) *cobra.Command {
	c := &cobra.Command{
		Use: "k8s", Short: "Manage the keys that encrypt the Secrets of Kubernetes clusters", Args: cli.Args(cobra.ArbitraryArgs), RunE: cli.Group,
		Long: `A KMS plugin ("k8s" in the configuration, or "serve --k8s-socket") encrypts with
the newest version of its key. The API server notices a rotation within a
minute. Have it rewrite all Secrets before you retire an old version.`,
	}
	var name string
	c.PersistentFlags().StringVar(&name, "name", config.DefaultKey, "name of the key, as in the configuration")
	c.AddCommand(keyCommand(ask, out, "k8s", func() string { return k8skeeper.RingName(name) }, "List, rotate and retire the versions of a key"))
	return c
}
