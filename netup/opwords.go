package netup

import (
	"fmt"
)

// opWords says in words what a change is, for the log.
func opWords(op Op) string {
	switch o := op.(type) {
	case SetUp:
		return "bringing the link up"
	case SetDown:
		return "taking the link down"
	case SetName:
		return "calling the link " + o.Name
	case SetAlias:
		return "noting on the link how it was"
	case AddVLAN:
		return fmt.Sprintf("making VLAN %s with the number %d", o.Name, o.ID)
	case AddBond:
		return "making the bond " + o.Name
	case AddBridge:
		return "making the bridge " + o.Name
	case SetBondOption:
		return fmt.Sprintf("setting %s=%s of bond %s", o.BondOption.Name, o.Value, o.Bond)
	}
	return opWordsMore(op)
}

func opWordsMore(op Op) string {
	switch o := op.(type) {
	case SetMaster:
		return "making the link a port"
	case DelLink:
		return "deleting the link"
	case SetMTU:
		return fmt.Sprintf("setting the MTU %d", o.MTU)
	case SetMAC:
		return "setting the hardware address " + o.MAC.String()
	case SetSysctl:
		return fmt.Sprintf("setting %s/%s to %q", o.Family, o.Key, o.Value)
	case AddAddr:
		return "adding the address " + o.Prefix.String()
	case DelAddr:
		return "taking off the address " + o.Prefix.String()
	case AddRoute:
		return "adding the route " + o.words()
	case DelRoute:
		return "taking off the route " + AddRoute(o).words()
	}
	return fmt.Sprintf("%T", op)
}

func (o AddRoute) words() string {
	if o.Via.IsValid() {
		return fmt.Sprintf("to %s via %s", o.To, o.Via)
	}
	return fmt.Sprintf("to %s", o.To)
}
