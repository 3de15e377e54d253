package plan

import (
	"fmt"
	"slices"
	"strings"

	"latchkey/internal/spelling"
)

// Unread are the words of a command line that nothing here acts on, as they
// stand: they are the kernel's, a module's, or the real root's. Those that
// people may expect something of are Problems instead.
func Unread(cmdline string) []string {
	args, err := SplitCmdline(cmdline)
	if err != nil {
		return nil // a Problem already
	}
	var words []string
	for _, a := range args {
		if !isNetOption(a) && !isKnown(a) {
			words = append(words, oneLine(a.String()))
		}
	}
	return words
}

// isKnown tells whether there is a hint for an option, be it one that says
// that nothing is done.
func isKnown(a Arg) bool {
	name := canonical(a.Key)
	_, named := unused()[name]
	if name == "kairos.config" {
		return strings.HasPrefix(a.Value, "kcrypt.challenger.")
	}
	return named || hintOf(name) != nil
}

// isNetOption tells whether ParseNet reads an option.
func isNetOption(a Arg) bool {
	return slices.Contains(netOptions, canonical(a.Key)) || a.HasPrefix("rd.net.")
}

// netOptions are all that ParseNet reads, but for rd.net.*.
var netOptions = []string{
	"ip", "nfsaddrs", "ip6", "ifname", "BOOTIF", "bootdev", "nameserver", "rd.route", "vlan", "bond", "bridge", "team",
	"rd.neednet", "rd.peerdns", "rd.bootif", "rd.latchkey.keepnet",
}

// OnlyNet tells which word is no option of the network, where nothing else
// may stand: on a kernel command line the others are somebody else's.
func OnlyNet(args []Arg) error {
	for _, a := range args {
		if !isNetOption(a) {
			return fmt.Errorf("%.64q at byte %d is no option of the network%s", a.Key, a.Pos, spelling.Suggest(a.Key, netOptions))
		}
	}
	return nil
}
