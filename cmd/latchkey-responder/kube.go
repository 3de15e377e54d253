package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"latchkey/internal/kube"
)

// A kubeService follows one Service by the REST API. It needs the verbs get,
// list and watch on services, in one namespace.
type kubeService struct {
	o                     options
	namespace, name, port string // port: name or number, "" is the first
	client                *kube.Client
}

// parseKube reads NAMESPACE/NAME[:PORT].
func parseKube(text string) (*kubeService, error) {
	path, port, _ := strings.Cut(text, ":")
	namespace, name, _ := strings.Cut(path, "/")
	if !kube.IsLabel(namespace) || !kube.IsLabel(name) || port != "" && !kube.IsLabel(port) {
		return nil, fmt.Errorf("--kubernetes-service %q is not NAMESPACE/NAME[:PORT]", text)
	}
	return &kubeService{namespace: namespace, name: name, port: port}, nil
}

// newKube finds the cluster as a pod does.
func newKube(o options) (*kubeService, error) {
	k, err := parseKube(o.kube)
	if err != nil {
		return nil, err
	}
	if k.client, err = kube.New(kube.Config{Account: o.account}); err != nil {
		return nil, fmt.Errorf("--kubernetes-service: %w", err)
	}
	k.o = o
	return k, nil
}

// follow watches until ctx ends. A watch that breaks is begun again; what
// was known stays until then.
func (k *kubeService) follow(ctx context.Context, log *slog.Logger, set func([]target)) {
	for wait := time.Second; ctx.Err() == nil; wait = min(2*wait, 30*time.Second) {
		start := time.Now()
		err := k.watch(ctx, set)
		if ctx.Err() != nil {
			return
		}

		if time.Since(start) > time.Minute {
			wait = time.Second
		}
		log.Warn("watching the Kubernetes Service", "error", err, "again_in", wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// watch begins with the Service as it is and goes on with its changes.
func (k *kubeService) watch(ctx context.Context, set func([]target)) error {
	query := url.Values{"fieldSelector": {"metadata.name=" + k.name}}
	err := k.client.Watch(ctx, "/api/v1/namespaces/"+k.namespace+"/services", query, func(kind string, object json.RawMessage) error {
		targets, err := k.event(kind, object)
		if err == nil {
			set(targets)
		}
		return err
	})
	if status, ok := errors.AsType[*kube.Status](err); ok {
		return fmt.Errorf("%w (services: get, list, watch in namespace %s)", status, k.namespace)
	}
	return err
}

// serviceObject is what we read of a Service (core/v1).
type serviceObject struct {
	Spec struct {
		ExternalIPs []string `json:"externalIPs"`
		Ports       []struct {
			Name string `json:"name"`
			Port uint16 `json:"port"`
		} `json:"ports"`
	} `json:"spec"`
	Status struct {
		LoadBalancer struct {
			Ingress []struct {
				IP string `json:"ip"`
			} `json:"ingress"`
		} `json:"loadBalancer"`
	} `json:"status"`
}

// event makes targets of one event: the addresses at which the Service is
// reached from outside.
func (k *kubeService) event(kind string, object json.RawMessage) ([]target, error) {
	if kind == "DELETED" {
		return nil, nil
	}
	var e serviceObject
	if err := json.Unmarshal(object, &e); err != nil {
		return nil, fmt.Errorf("reading an event: %w", err)
	}

	port := uint16(0)
	for _, p := range e.Spec.Ports {
		if k.port == "" && port == 0 || p.Name == k.port || strconv.Itoa(int(p.Port)) == k.port {
			port = p.Port
		}
	}

	texts := e.Spec.ExternalIPs
	for _, i := range e.Status.LoadBalancer.Ingress {
		texts = append(texts, i.IP)
	}
	var out []target

	for _, text := range texts {
		addr, err := netip.ParseAddr(text)
		if err != nil || port == 0 {
			continue // a load balancer that has only a name
		}
		for _, h := range k.o.hosts {
			if len(out) < maxTargets {
				out = append(out, target{h, netip.AddrPortFrom(addr, port), strings.Join(k.o.services, ",")})
			}
		}
	}

	return out, nil
}
