// Command latchkey-kms-bench measures how many machines a key server on this
// host can serve. It links software TPMs, which no key server does.
package main

import (
	"os"

	"latchkey/kms/bench"
)

func main() { os.Exit(bench.Main(os.Args[1:], os.Stdout, os.Stderr)) }
