package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"latchkey/kms"
)

// A Listeners says where machines are answered, and in which protocols.
type Listeners []Listener

// A Listener is one address for HTTP.
type Listener struct {
	Endpoint  `yaml:",inline"`
	Protocols []Protocol `yaml:"protocols" words:"lk1 kairos tang"`
}

// An Endpoint is one address, and who may connect to it how.
type Endpoint struct {
	Address string `yaml:"address" restart:"yes"` // host:port; no host is all addresses
	TLS     *TLS   `yaml:"tls" restart:"yes"`     // wanted for all but lk1 and tang
	// Proxies are believed about who asks: in X-Forwarded-For, or in a
	// PROXY header (version 2) that begins each of their connections.
	Proxies       []Prefix    `yaml:"trusted-proxies" restart:"yes"`
	ProxyProtocol bool        `yaml:"proxy-protocol" restart:"yes"`
	Connections   Connections `yaml:"connections" restart:"yes"`
}

// Connections are how many may be open at once; 0 is the default.
type Connections struct {
	PerAddress int `yaml:"per-address"`
	PerNetwork int `yaml:"per-network"`
	InAll      int `yaml:"in-all"`
}

// A Prefix is a network, or one address.
type Prefix struct{ netip.Prefix }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Prefix) UnmarshalText(text []byte) error {
	a, err := netip.ParseAddr(string(text))
	if err == nil && a.Zone() == "" {
		p.Prefix = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
		return nil
	}
	n, err := netip.ParsePrefix(string(text))
	if err != nil {
		return fmt.Errorf("%.64q is no address and no network", text)
	}
	if n != n.Masked() {
		return fmt.Errorf("%s has bits set beyond its length: write %s", n, n.Masked())
	}
	p.Prefix = n
	return nil
}

// Prefixes are networks without what reads them from a file.
func Prefixes(all []Prefix) (out []netip.Prefix) {
	for _, p := range all {
		out = append(out, p.Prefix)
	}
	return out
}

// check fills in the default: lk1 on its port. A list that is empty is none:
// a key server may be for Talos or Kubernetes alone.
func (l *Listeners) check() error {
	if *l == nil {
		*l = Listeners{defaultListener()}
	}
	for i := range *l {
		if err := (*l)[i].check(); err != nil {
			return under("["+strconv.Itoa(i)+"]", err)
		}
	}
	return nil
}

func (l *Listener) check() error {
	if l.Protocols == nil {
		l.Protocols = []Protocol{LK1}
	}
	if len(l.Protocols) == 0 {
		return faultf("protocols", "name lk1, kairos or tang, or several")
	}
	for i, p := range l.Protocols {
		if err := p.check(); err != nil {
			return faultf("protocols["+strconv.Itoa(i)+"]", "%w", err)
		}
	}

	if err := l.Endpoint.check(); err != nil {
		return err
	}
	if l.TLS != nil && l.TLS.MinVersion == "1.2" && !slices.Contains(l.Protocols, Kairos) {
		return faultf("tls.min-version", "1.2 is only for clients of Kairos")
	}
	return nil
}

// check names where the protocols that are not HTTP are switched on.
func (p Protocol) check() error {
	switch p {
	case LK1, Kairos, Tang:
		return nil
	case "talos":
		return errors.New("talos has a listener of its own: --talos-listen, or talos.address")
	case "k8s", "kubernetes":
		return fmt.Errorf("%s has a socket of its own: --k8s-socket, or k8s[].socket", p)
	}
	return fmt.Errorf("%q must be lk1, kairos or tang", p)
}

func (e *Endpoint) check() error {
	_, port, err := net.SplitHostPort(e.Address)
	if err != nil || port == "" {
		return faultf("address", "%q is not host:port", e.Address)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return faultf("address", "%q: the port must be a number from 0 to 65535", e.Address)
	}
	if err := e.TLS.check(); err != nil {
		return under("tls", err)
	}
	if e.ProxyProtocol && len(e.Proxies) == 0 {
		return faultf("proxy-protocol", "name the proxies in trusted-proxies: anybody else could say anything")
	}
	if err := e.Connections.check(); err != nil {
		return under("connections", err)
	}
	return nil
}

func (c Connections) check() error {
	for key, n := range map[string]int{"per-address": c.PerAddress, "per-network": c.PerNetwork, "in-all": c.InAll} {
		if n < 0 || n > 1<<16 {
			return faultf(key, "%d is not between 1 and 65536", n)
		}
	}
	return nil
}

// Speak tells whether any listener speaks a protocol.
func (l Listeners) Speak(p Protocol) bool { return slices.Contains(l.Protocols(), p) }

// Protocols are those of all listeners.
func (l Listeners) Protocols() []Protocol {
	var all []Protocol
	for _, one := range l {
		all = append(all, one.Protocols...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// limitTo makes all listeners speak these protocols.
func (c *Config) limitTo(names []string) error {
	c.listeners()
	if len(c.Listen) == 0 {
		return faultf("protocol", "there is no listener that could speak it: listen is an empty list")
	}
	for i := range c.Listen {
		c.set("listen["+strconv.Itoa(i)+"].protocols", "--protocol")
		c.Listen[i].Protocols = []Protocol{}
		for _, name := range names {
			c.Listen[i].Protocols = append(c.Listen[i].Protocols, Protocol(name))
		}
	}
	return nil
}

// listenAt makes one listener of a flag; "none" is no listener.
func (c *Config) listenAt(address string) {
	c.set("listen", "--listen")
	c.Listen = Listeners{listenerAt(address)}
	if address == "none" {
		c.Listen = Listeners{}
	}
}

// listeners makes the one that there is by default.
func (c *Config) listeners() {
	if c.Listen == nil {
		c.Listen = Listeners{defaultListener()}
	}
}

func defaultListener() Listener { return listenerAt(":" + strconv.Itoa(kms.DefaultPort)) }

func listenerAt(address string) Listener {
	return Listener{Endpoint: Endpoint{Address: address}}
}
