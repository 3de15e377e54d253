package main

import (
	"net"
	"slices"
	"strconv"

	"latchkey/kms"
	"latchkey/kms/server"
)

// A listenSection says where machines are answered, and in which protocols.
type listenSection []listenerConfig

// A listenerConfig is one address.
type listenerConfig struct {
	Address   string            `yaml:"address"` // host:port; no host is all addresses
	Protocols []server.Protocol `yaml:"protocols"`
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
	if _, port, err := net.SplitHostPort(l.Address); err != nil || port == "" {
		return faultf("address", "%q is not host:port", l.Address)
	}
	return nil
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
	if len(c.Listen) == 0 {
		c.Listen = listenSection{defaultListener()}
	}
	for i := range c.Listen {
		c.set("listen["+strconv.Itoa(i)+"].protocols", "--protocol")
		c.Listen[i].Protocols = []server.Protocol{}
		for _, name := range names {
			c.Listen[i].Protocols = append(c.Listen[i].Protocols, server.Protocol(name))
		}
	}
}

func defaultListener() listenerConfig {
	return listenerConfig{Address: ":" + strconv.Itoa(kms.DefaultPort)}
}
