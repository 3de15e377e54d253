package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// entrances are where a Service or Ingress is reached from outside of the
// cluster.
type entrances struct {
	addrs    []netip.Addr
	names    []string // of load balancers that have no address of their own
	port     uint16
	nodePort uint16 // on every node; 0: none
}

// loadBalancer is LoadBalancerStatus of core/v1, and what networking/v1 has
// of it.
type loadBalancer struct {
	Ingress []struct {
		IP       string `json:"ip"`
		Hostname string `json:"hostname"`
	} `json:"ingress"`
}

func (l loadBalancer) into(e *entrances) {
	for _, i := range l.Ingress {
		if a, err := netip.ParseAddr(i.IP); err == nil {
			e.addrs = append(e.addrs, a)
		} else if i.Hostname != "" {
			e.names = append(e.names, i.Hostname)
		}
	}
}

type servicePort struct {
	Name     string `json:"name"`
	Protocol string `json:"protocol"`
	Port     uint16 `json:"port"`
	NodePort uint16 `json:"nodePort"`
}

// readService reads a Service (core/v1). An error says why machines outside
// of the cluster cannot reach it, and what to do.
func readService(object json.RawMessage, port string) (entrances, error) {
	var s struct {
		Spec struct {
			Type        string        `json:"type"`
			ExternalIPs []string      `json:"externalIPs"`
			Ports       []servicePort `json:"ports"`
		} `json:"spec"`
		Status struct {
			LoadBalancer loadBalancer `json:"loadBalancer"`
		} `json:"status"`
	}
	if err := json.Unmarshal(object, &s); err != nil {
		return entrances{}, fmt.Errorf("cannot be read: %w", err)
	}

	p, err := choose(s.Spec.Ports, port)
	if err != nil {
		return entrances{}, err
	}
	e := entrances{port: p.Port, nodePort: p.NodePort}
	for _, text := range s.Spec.ExternalIPs {
		if a, err := netip.ParseAddr(text); err == nil {
			e.addrs = append(e.addrs, a)
		}
	}
	s.Status.LoadBalancer.into(&e)
	if len(e.addrs)+len(e.names) > 0 || e.nodePort != 0 {
		return e, nil
	}

	switch s.Spec.Type {
	case "LoadBalancer":
		return e, errors.New("has no address yet: its load balancer has not given it one")
	case "ExternalName":
		return e, errors.New("has type ExternalName, which leads out of the cluster: give the KMS's address by --target")
	}
	return e, errors.New("has type ClusterIP and no external addresses, so machines outside of the cluster cannot reach it: make it a LoadBalancer or a NodePort, give it externalIPs, or use --kubernetes-ingress")
}

// choose finds a TCP port by name or number; "" is the first.
func choose(ports []servicePort, want string) (servicePort, error) {
	var have []string
	for _, p := range ports {
		if p.Protocol != "" && p.Protocol != "TCP" {
			continue
		}
		if want == "" || p.Name == want || strconv.Itoa(int(p.Port)) == want {
			return p, nil
		}
		have = append(have, strings.TrimSpace(fmt.Sprintf("%s %d", p.Name, p.Port)))
	}
	if len(have) == 0 {
		return servicePort{}, errors.New("has no TCP port")
	}
	return servicePort{}, fmt.Errorf("has no TCP port %q, but %s", want, strings.Join(have, ", "))
}

// readIngress reads an Ingress (networking/v1). Its port is 443 with TLS,
// else 80, unless another is asked for.
func readIngress(object json.RawMessage, port string) (entrances, error) {
	var i struct {
		Spec struct {
			TLS []json.RawMessage `json:"tls"`
		} `json:"spec"`
		Status struct {
			LoadBalancer loadBalancer `json:"loadBalancer"`
		} `json:"status"`
	}
	if err := json.Unmarshal(object, &i); err != nil {
		return entrances{}, fmt.Errorf("cannot be read: %w", err)
	}

	e := entrances{port: 80}
	if len(i.Spec.TLS) > 0 {
		e.port = 443
	}
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return entrances{}, fmt.Errorf("has no port %q: its port is a number, such as 80", port)
		}
		e.port = uint16(n)
	}

	i.Status.LoadBalancer.into(&e)
	if len(e.addrs)+len(e.names) == 0 {
		return e, errors.New("has no address yet: its controller has not given it one")
	}
	return e, nil
}
