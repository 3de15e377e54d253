package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"latchkey/kms"
	"latchkey/kms/server"
)

// A listenSection says where machines are answered, and in which protocols.
type listenSection []listenerConfig

// A listenerConfig is one address for HTTP.
type listenerConfig struct {
	endpoint  `yaml:",inline"`
	Protocols []server.Protocol `yaml:"protocols"`
}

// An endpoint is one address, and who may connect to it how.
type endpoint struct {
	Address string     `yaml:"address" restart:"yes"` // host:port; no host is all addresses
	TLS     *tlsConfig `yaml:"tls" restart:"yes"`     // wanted for all but lk1
	// Proxies are believed about who asks: in X-Forwarded-For, or in a
	// PROXY header (version 2) that begins each of their connections.
	Proxies       []prefix    `yaml:"trusted-proxies" restart:"yes"`
	ProxyProtocol bool        `yaml:"proxy-protocol" restart:"yes"`
	Connections   connections `yaml:"connections" restart:"yes"`
}

// connections are how many may be open at once; 0 is the default.
type connections struct {
	PerAddress int `yaml:"per-address"`
	PerNetwork int `yaml:"per-network"`
	InAll      int `yaml:"in-all"`
}

// A prefix is a network, or one address.
type prefix struct{ netip.Prefix }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *prefix) UnmarshalText(text []byte) error {
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

func prefixes(all []prefix) (out []netip.Prefix) {
	for _, p := range all {
		out = append(out, p.Prefix)
	}
	return out
}

var protocols = []server.Protocol{server.LK1, server.Kairos}

// check fills in the default: lk1 on port 7741.
func (l *listenSection) check() error {
	if len(*l) == 0 {
		*l = listenSection{defaultListener()}
	}
	for i := range *l {
		if err := (*l)[i].check(); err != nil {
			return under("["+strconv.Itoa(i)+"]", err)
		}
	}
	return nil
}

func (l *listenerConfig) check() error {
	if l.Protocols == nil {
		l.Protocols = []server.Protocol{server.LK1}
	}
	if len(l.Protocols) == 0 {
		return faultf("protocols", "name one")
	}

	for i, p := range l.Protocols {
		if !slices.Contains(protocols, p) {
			return faultf("protocols["+strconv.Itoa(i)+"]", "%q must be lk1 or kairos", p)
		}
	}

	if err := l.endpoint.check(); err != nil {
		return err
	}
	if l.TLS != nil && l.TLS.MinVersion == "1.2" && !slices.Contains(l.Protocols, server.Kairos) {
		return faultf("tls.min-version", "1.2 is only for clients of Kairos")
	}

	return nil
}

func (e *endpoint) check() error {
	if _, port, err := net.SplitHostPort(e.Address); err != nil || port == "" {
		return faultf("address", "%q is not host:port", e.Address)
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

func (c connections) check() error {
	for key, n := range map[string]int{"per-address": c.PerAddress, "per-network": c.PerNetwork, "in-all": c.InAll} {
		if n < 0 || n > 1<<16 {
			return faultf(key, "%d is not between 1 and 65536", n)
		}
	}
	return nil
}

// options are the endpoint's, for the server.
func (e *endpoint) options(pairs certificates, log *slog.Logger) (o server.FrontOptions, err error) {
	o = server.FrontOptions{Limits: server.Limits(e.Connections), Proxies: prefixes(e.Proxies), ProxyProtocol: e.ProxyProtocol}
	o.TLS, err = pairs.config(e.TLS, log)
	return o, err
}

// speak tells whether any listener speaks a protocol.
func (l listenSection) speak(p server.Protocol) bool { return slices.Contains(l.protocols(), p) }

// protocols are those of all listeners.
func (l listenSection) protocols() []server.Protocol {
	var all []server.Protocol
	for _, one := range l {
		all = append(all, one.Protocols...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// limitTo makes all listeners speak these protocols.
func (c *config) limitTo(names []string) {
	c.listeners()
	for i := range c.Listen {
		c.set("listen["+strconv.Itoa(i)+"].protocols", "--protocol")
		c.Listen[i].Protocols = []server.Protocol{}
		for _, name := range names {
			c.Listen[i].Protocols = append(c.Listen[i].Protocols, server.Protocol(name))
		}
	}
}

func defaultListener() listenerConfig {
	return listenerAt(":" + strconv.Itoa(kms.DefaultPort))
}

// listeners makes the one that there is by default.
func (c *config) listeners() {
	if len(c.Listen) == 0 {
		c.Listen = listenSection{defaultListener()}
	}
}

func listenerAt(address string) listenerConfig {
	return listenerConfig{endpoint: endpoint{Address: address}}
}
