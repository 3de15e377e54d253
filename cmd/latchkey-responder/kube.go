package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// accountDir is where a pod finds its service account.
const accountDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// maxEvent caps one event of the watch, in bytes.
const maxEvent = 1 << 20

// A kube follows one Service by the REST API. It needs the verbs get, list
// and watch on services, in one namespace.
type kube struct {
	o                     options
	namespace, name, port string // port: name or number, "" is the first
	client                *http.Client
	base, account         string
}

// kubeName is RFC 1123's label, as Kubernetes wants it.
var kubeName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// parseKube reads NAMESPACE/NAME[:PORT].
func parseKube(text string) (*kube, error) {
	path, port, _ := strings.Cut(text, ":")
	namespace, name, _ := strings.Cut(path, "/")
	if !kubeName.MatchString(namespace) || !kubeName.MatchString(name) || port != "" && !kubeName.MatchString(port) {
		return nil, fmt.Errorf("--kubernetes-service %q is not NAMESPACE/NAME[:PORT]", text)
	}
	return &kube{namespace: namespace, name: name, port: port}, nil
}

// newKube finds the cluster as a pod does.
func newKube(o options) (*kube, error) {
	k, err := parseKube(o.kube)
	if err != nil {
		return nil, err
	}
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return nil, fmt.Errorf("--kubernetes-service works in a pod only: KUBERNETES_SERVICE_HOST is not set")
	}
	k.o, k.base, k.account = o, "https://"+net.JoinHostPort(host, port), o.account
	pem, err := os.ReadFile(filepath.Join(k.account, "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("reading the cluster's certificate: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("reading the cluster's certificate: %s/ca.crt holds none", k.account)
	}
	k.client = &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots}, TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 30 * time.Second,
	}}
	return k, nil
}

// follow watches until ctx ends. A watch that breaks is begun again; what
// was known stays until then.
func (k *kube) follow(ctx context.Context, log *slog.Logger, set func([]target)) {
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

// watch begins with the Service as it is and goes on with its changes. The
// server ends it after five minutes, so that a dead connection is noticed.
func (k *kube) watch(ctx context.Context, set func([]target)) error {
	ctx, cancel := context.WithTimeout(ctx, 6*time.Minute)
	defer cancel()
	query := url.Values{"watch": {"1"}, "timeoutSeconds": {"300"}, "fieldSelector": {"metadata.name=" + k.name}}
	address := k.base + "/api/v1/namespaces/" + k.namespace + "/services?" + query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	token, err := os.ReadFile(filepath.Join(k.account, "token")) // it is renewed on disk
	if err != nil {
		return fmt.Errorf("reading the service account's token: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	response, err := k.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the API server answers %s (services: get, list, watch in namespace %s)", response.Status, k.namespace)
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		targets, err := k.event(lines.Bytes())
		if err != nil {
			return err
		}
		set(targets)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return fmt.Errorf("the API server ended the watch")
}

// kubeEvent is what we read of a watch event and of a Service (core/v1).
type kubeEvent struct {
	Type   string `json:"type"`
	Object struct {
		Message string `json:"message"` // of an ERROR
		Spec    struct {
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
	} `json:"object"`
}

// event makes targets of one event: the addresses at which the Service is
// reached from outside.
func (k *kube) event(line []byte) ([]target, error) {
	var e kubeEvent
	if err := json.Unmarshal(line, &e); err != nil {
		return nil, fmt.Errorf("reading an event: %w", err)
	}
	switch e.Type {
	case "DELETED":
		return nil, nil
	case "ERROR":
		return nil, fmt.Errorf("the API server says: %.200s", e.Object.Message)
	}
	port := uint16(0)
	for _, p := range e.Object.Spec.Ports {
		if k.port == "" && port == 0 || p.Name == k.port || strconv.Itoa(int(p.Port)) == k.port {
			port = p.Port
		}
	}
	texts := e.Object.Spec.ExternalIPs
	for _, i := range e.Object.Status.LoadBalancer.Ingress {
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
