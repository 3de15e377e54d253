package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// together are the commands that several people may have to say, where the
// policy asks for more than one: by their paths below the root.
var together = []string{
	"node approve", "node accept", "node renew", "node readmit", "node set",
	"kairos approve", "kairos accept", "kairos renew", "kairos readmit", "kairos set",
	"talos approve", "talos renew", "talos readmit", "talos set",
	"volume undelete", "recovery release", "policy apply", "policy revert",
}

const togetherWords = `

Where several people must say the same ("approvals" in the policy), this ends with
exit code 5 and "not done yet" until as many have, within a day.`

// sayTogether adds that to the manual of each of them.
func sayTogether(root *cobra.Command) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if path := strings.TrimPrefix(c.CommandPath(), root.Name()+" "); slices.Contains(together, path) {
			if c.Long == "" {
				c.Long = c.Short + "."
			}
			c.Long += togetherWords
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
}
