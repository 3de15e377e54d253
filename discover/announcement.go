package discover

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Limits of what is announced: that it fits into packets of Ethernet. A
// TXT record beyond maxText is not recommended by RFC 6763, section 6.2;
// all addresses of a host are in one probe, 28 bytes each.
const (
	maxText      = 1300 // bytes, with the length of each string
	maxHostAddrs = 40
)

// An Announcement is a key server to answer for.
type Announcement struct {
	Host  string       // "kms.local"
	Addrs []netip.Addr // where it is; none: on this machine, at each link's own addresses
	// OwnName: Host is what this machine itself is called, so avahi-daemon may
	// say it, too, and the two must say the same of it.
	OwnName  bool
	Port     uint16
	Services []string // DNS-SD types, "_latchkey._tcp"
	Instance string   // the label people see; "" is the first label of Host
	Text     []string // TXT strings, key=value
}

// check tells what is wrong with an announcement.
func (a Announcement) check() error {
	host := strings.ToLower(strings.TrimSuffix(a.Host, "."))
	if !isHostName(host) || !isLocal(host) || host == "local" {
		return fmt.Errorf("host %q is not a name such as kms.local", a.Host)
	}

	if len(a.Addrs) > maxHostAddrs {
		return fmt.Errorf("%d addresses, the limit is %d", len(a.Addrs), maxHostAddrs)
	}
	for _, addr := range a.Addrs {
		if !isHost(addr.Unmap()) && !addr.IsLoopback() {
			return fmt.Errorf("target %s is not the address of a host", addr)
		}
	}

	if len(a.Services) > 0 && a.Port == 0 {
		return errors.New("a service needs a port")
	}
	for _, s := range a.Services {
		if _, err := serviceName(s); err != nil {
			return err
		}
	}

	size := 0
	for _, s := range a.Text {
		if s == "" || len(s) > 255 {
			return fmt.Errorf("text %q is not 1 to 255 bytes", s)
		}
		size += 1 + len(s)
	}
	if size > maxText {
		return fmt.Errorf("the texts have %d bytes, the limit is %d: machines read one packet", size, maxText)
	}

	if len(a.Instance) > 63 {
		return fmt.Errorf("instance %q has more than 63 bytes", a.Instance)
	}
	return nil
}

// checkAll checks announcements, each and together, and completes them.
func checkAll(all []Announcement) ([]Announcement, error) {
	if len(all) > maxAnnouncements {
		return nil, fmt.Errorf("announcing %d key servers, the limit is %d", len(all), maxAnnouncements)
	}
	var checked []Announcement
	addrs := map[string]int{} // of a host, in all announcements

	for _, a := range all {
		if err := a.check(); err != nil {
			return nil, fmt.Errorf("announcing %q: %w", a.Host, err)
		}
		a.Host = strings.ToLower(strings.TrimSuffix(a.Host, "."))
		if a.Instance == "" {
			a.Instance, _, _ = strings.Cut(a.Host, ".")
		}
		if addrs[a.Host] += len(a.Addrs); addrs[a.Host] > maxHostAddrs {
			return nil, fmt.Errorf("announcing %q: %d addresses, the limit is %d", a.Host, addrs[a.Host], maxHostAddrs)
		}
		checked = append(checked, a)
	}

	return checked, nil
}
