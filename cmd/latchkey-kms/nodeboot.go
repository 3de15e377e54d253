package main

import (
	"fmt"
	"io"

	"latchkey/kms/server/lk1"
)

// printBoot says in words what a machine booted last, and how that differs
// from what was approved.
func printBoot(w io.Writer, n lk1.Node) {
	if n.Says != "" && n.ApprovedBoot != nil {
		fmt.Fprintf(w, "differs:     %s\n", n.Says)
	}
	for _, line := range n.Boot {
		fmt.Fprintf(w, "booted:      %s\n", line)
	}
}
