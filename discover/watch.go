package discover

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"latchkey/internal/ifwatch"
)

// WatchInterfaces calls update with this machine's links, now and after
// each change, until ctx ends. Only the links in names count; no names
// are all that can multicast.
func WatchInterfaces(ctx context.Context, names []string, update func([]Interface)) error {
	changes, err := ifwatch.Watch(ctx)
	if err != nil {
		return err
	}
	for {
		links, err := interfaces(names)
		if err != nil {
			return err
		}
		update(links)
		if _, open := <-changes; !open {
			return ctx.Err()
		}
	}
}

func interfaces(names []string) ([]Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("listing network interfaces: %w", err)
	}

	var out []Interface
	for _, i := range all {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagMulticast == 0 ||
			len(names) > 0 && !slices.Contains(names, i.Name) {
			continue
		}

		link := Interface{Index: i.Index, Name: i.Name}
		addrs, err := i.Addrs()
		if err != nil {
			continue // gone since
		}

		for _, a := range addrs {
			n, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			ip, _ := netip.AddrFromSlice(n.IP)
			ones, bits := n.Mask.Size()
			ip = ip.Unmap()
			if bits == 128 && ip.Is4() {
				ones -= 96
			}
			link.Addrs = append(link.Addrs, netip.PrefixFrom(ip, ones))
		}

		out = append(out, link)
	}

	return out, nil
}
