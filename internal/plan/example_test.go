package plan_test

import (
	"errors"
	"fmt"

	"latchkey/internal/plan"
)

// Network options are hints: a wrong field is named and dropped, and the rest
// of its line is kept.
func ExampleParseNet() {
	args, err := plan.SplitCmdline("ip=192.0.2.55::192.0.2.1:24:shop1:eth0:static nameserver=192.0.2.53 vlan=eth0.5:eth0:x")
	if err != nil {
		fmt.Println(err)
		return
	}

	net, problems := plan.ParseNet(args)
	fmt.Println(net.IPs[0].Address, net.IPs[0].Gateway, net.IPs[0].Link)
	for _, p := range problems {
		fmt.Println(p)
	}
	// Output:
	// 192.0.2.55/24 192.0.2.1 eth0
	// option "vlan=eth0.5:eth0:x" at byte 68: "x" has no effect: VLANs have no options here
}

// A plan file is what "image build" wrote, byte for byte; the kernel command
// line may only hint. What it cannot change is named.
func ExampleParse() {
	file := []byte("not a plan")
	_, _, err := plan.Parse(file, "rd.neednet=1", "")
	fmt.Println(errors.Is(err, plan.ErrInvalid))
	// Output:
	// true
}
