package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"latchkey/internal/kube"
)

// A load balancer that has only a name (AWS) is looked up this often: its
// addresses change.
const lookUpEvery = time.Minute

// A kubeSource follows one Service or Ingress by the REST API. It needs the
// verbs get, list and watch on it, in one namespace.
type kubeSource struct {
	o                     options
	kind                  string // "Service" or "Ingress"
	namespace, name, port string // port: name or number, "" is the first
	client                *kube.Client
	lookUp                func(ctx context.Context, host string) ([]netip.Addr, error)
}

// parseKube reads NAMESPACE/NAME[:PORT] of a flag.
func parseKube(kind, flag, text string) (*kubeSource, error) {
	path, port, _ := strings.Cut(text, ":")
	namespace, name, _ := strings.Cut(path, "/")
	if !kube.IsLabel(namespace) || !kube.IsLabel(name) || port != "" && !kube.IsLabel(port) {
		return nil, fmt.Errorf("--%s %q is not NAMESPACE/NAME[:PORT], such as keys/latchkey-kms:lk1", flag, text)
	}
	return &kubeSource{kind: kind, namespace: namespace, name: name, port: port}, nil
}

// parseKubes reads whichever flag is given; nil if none is.
func (o *options) parseKubes() (*kubeSource, error) {
	switch {
	case o.kube != "":
		return parseKube("Service", "kubernetes-service", o.kube)
	case o.ingress != "":
		return parseKube("Ingress", "kubernetes-ingress", o.ingress)
	}
	return nil, nil
}

// connect finds the cluster as a pod does.
func (k *kubeSource) connect(o options) (err error) {
	if k.client, err = kube.New(kube.Config{Account: o.account}); err != nil {
		return fmt.Errorf("connecting to the cluster of %s: %w", k, err)
	}
	k.o, k.lookUp = o, func(ctx context.Context, host string) ([]netip.Addr, error) {
		return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	}
	return nil
}

func (k *kubeSource) String() string { return k.kind + " " + k.namespace + "/" + k.name }

// follow calls set with the targets, and the reason if there are none, until
// ctx ends. A watch that breaks is begun again with a list, so that what was
// deleted meanwhile is known; until then what was known stays.
func (k *kubeSource) follow(ctx context.Context, log *slog.Logger, set func([]target, string)) {
	objects := make(chan json.RawMessage)
	go k.evaluate(ctx, objects, set)
	for wait := time.Second; ctx.Err() == nil; wait = min(2*wait, 30*time.Second) {
		start := time.Now()
		err := k.watch(ctx, objects)
		if ctx.Err() != nil {
			return
		}

		if time.Since(start) > time.Minute {
			wait = time.Second
		}
		log.Warn("the watch broke; keeping the last targets and trying again", "object", k.String(), "error", err, "again_in", wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// watch hands on the object as it is and as it changes; nil if there is
// none.
func (k *kubeSource) watch(ctx context.Context, objects chan<- json.RawMessage) error {
	path, resource := "/api/v1/namespaces/", "services"
	if k.kind == "Ingress" {
		path, resource = "/apis/networking.k8s.io/v1/namespaces/", "ingresses"
	}

	query := url.Values{"fieldSelector": {"metadata.name=" + k.name}}
	err := k.client.Follow(ctx, path+k.namespace+"/"+resource, query, func(all map[string]json.RawMessage) {
		select {
		case objects <- slices.Clone(all[k.name]):
		case <-ctx.Done():
		}
	})
	if kube.CodeOf(err) != 0 {
		return fmt.Errorf("%w (the role needs get, list and watch on %s in namespace %s)", err, resource, k.namespace)
	}
	return err
}

// evaluate makes targets of each state of the object, and looks its names
// up again now and then.
func (k *kubeSource) evaluate(ctx context.Context, objects <-chan json.RawMessage, set func([]target, string)) {
	var object json.RawMessage
	var known []target
	why, first := "", true
	again := time.NewTicker(lookUpEvery)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case object = <-objects:
		case <-again.C:
			if first {
				continue
			}
		}

		targets, reason := k.targets(ctx, object)
		if first || reason != why || !slices.Equal(targets, known) {
			first, known, why = false, targets, reason
			set(targets, reason)
		}
	}
}

// targets makes targets of one state of the object, or says why there are
// none.
func (k *kubeSource) targets(ctx context.Context, object json.RawMessage) ([]target, string) {
	if object == nil {
		return nil, k.String() + " does not exist"
	}
	read := readService
	if k.kind == "Ingress" {
		read = readIngress
	}
	e, err := read(object, k.port)
	if err != nil {
		return nil, fmt.Sprintf("%s %v", k, err)
	}

	var failed error
	for _, name := range e.names {
		found, err := k.lookUp(ctx, name)
		if err != nil {
			failed = err
		}
		for _, a := range found {
			e.addrs = append(e.addrs, a.Unmap())
		}
	}
	slices.SortFunc(e.addrs, netip.Addr.Compare)

	var out []target
	for _, a := range slices.Compact(e.addrs) {
		for _, h := range k.o.hosts {
			out = append(out, target{h, netip.AddrPortFrom(a, e.port), strings.Join(k.o.services, ",")})
		}
	}
	if len(out) == 0 && e.nodePort != 0 {
		for _, h := range k.o.hosts {
			out = append(out, target{h, ownPort(e.nodePort), strings.Join(k.o.services, ",")})
		}
	}
	if len(out) == 0 {
		return nil, fmt.Sprintf("looking up the load balancer of %s: %v", k, failed)
	}
	return out[:min(len(out), maxTargets)], ""
}
