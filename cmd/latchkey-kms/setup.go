package main

import (
	"fmt"

	"latchkey/kms/ledger"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/kms/config"
	"latchkey/kms/home"
)

// nextSteps are what to do after a first start, on the key server and on the
// machines.
const nextSteps = `next, on this host: latchkey-kms trust prints what machines must know of it
next, on a machine: latchkey setup --kms http://THIS-HOST:7741 (package latchkey)
then, on this host: latchkey-kms node list shows who asks, latchkey-kms node approve WORDS
`

func initCommand(flags *config.Flags, out *output) *cobra.Command {
	var join, restored, firstStart bool
	var siteFile string
	var pcrs []int
	c := &cobra.Command{
		Use:   "init",
		Short: "Create a new KMS: its keys and its database",
		Long: `Creates the KMS' signing key, the wrapping key and an empty database. It never
changes what is there already. Keep a copy of the wrapping key, apart from the
backups: without it they are useless, and with it a thief can read them.

--join prepares this host to be one more server of a KMS in a shared store. Copy
the wrapping key of the first server to this host before. A server that was on
the store already refuses it once another host has restored an older backup;
--after-restore says that this was done on purpose.

--site makes it the server of a site, by the file that "site add" wrote at the
center. It holds what the center lets it have, and nothing of its own.

--first-start is for a unit: where there is a KMS it does nothing, and where
there is none it also says what to do next.`,
		Example: `  latchkey-kms init --data /srv/kms
  latchkey-kms init --store etcd:https://a:2379,b:2379,c:2379
  latchkey-kms init --join --store etcd:https://a:2379,b:2379,c:2379
  latchkey-kms init --wrapping-key /etc/latchkey/wrapping.key
  latchkey-kms init --site berlin.site --wrapping-tpm /dev/tpmrm0
  latchkey-kms init --wrapping-tpm /dev/tpmrm0`,
		Args: cli.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			h, err := homeOf(flags)
			if err != nil {
				return err
			}
			if restored && !join {
				return cli.Usagef("--after-restore goes with --join")
			}
			if join {
				return showJoin(c, h, restored, out)
			}
			if firstStart && h.Begun() {
				return nil
			}
			if siteFile != "" {
				return initSite(c, h, siteFile, pcrs, out)
			}
			pin, err := h.Create(c.Context(), pcrs)
			if err != nil {
				return err
			}
			return out.show(c, ledger.Trust{KMS: []string{pin.String()}}, func() {
				fmt.Fprintf(c.OutOrStdout(), "created a KMS in %s; its public key is\n%s\n", h.Data, pin)
				fmt.Fprintf(c.OutOrStdout(), "the wrapping key is kept %s\nkeep a copy of it in another place: without it no backup can be restored\n", h.Kept())
				if firstStart {
					fmt.Fprint(c.OutOrStdout(), nextSteps)
				}
			})
		},
	}

	c.Flags().IntSliceVar(&pcrs, "wrapping-pcrs", []int{7}, "with --wrapping-tpm: PCRs (SHA-256) that must not change")
	c.Flags().BoolVar(&join, "join", false, "be one more server of the KMS that is in the store")
	c.Flags().StringVar(&siteFile, "site", "", "be the server of a site: the file that the center's \"site add\" wrote")
	c.Flags().BoolVar(&firstStart, "first-start", false, "do nothing if there is a KMS, or if the store is a shared one: for a unit that starts it")
	c.Flags().BoolVar(&restored, "after-restore", false, "with --join: take the store though it is older than what this host has seen, because it was restored")
	return c
}

func showJoin(c *cobra.Command, h home.Home, restored bool, out *output) error {
	found, pin, err := h.Join(c.Context(), restored)
	if err != nil {
		return err
	}
	return out.show(c, ledger.Trust{KMS: []string{pin}}, func() {
		fmt.Fprintf(c.OutOrStdout(), "joined a KMS with %d records, epoch %d; its public key is\n%s\n", found.Records, found.Epoch, pin)
	})
}
