package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/internal/kube"
	"latchkey/internal/testlan"
)

// kubeService is a Service's JSON: type, ports, external IPs and what the load
// balancer has.
func kubeService(kind, externalIPs, ingress string) string {
	return fmt.Sprintf(`{"metadata":{"name":"kms","resourceVersion":"1"},"spec":{"type":%q,"externalIPs":[%s],"ports":[
		{"name":"dns","protocol":"UDP","port":53},{"name":"admin","port":9443,"nodePort":%s},{"name":"lk1","protocol":"TCP","port":8443,"nodePort":%s}]},
		"status":{"loadBalancer":{"ingress":[%s]}}}`, kind, externalIPs, nodePort(kind, 31000), nodePort(kind, 30000), ingress)
}

func nodePort(kind string, port int) string {
	if kind == "ClusterIP" {
		return "0"
	}
	return fmt.Sprint(port)
}

func kubeIngress(tls, status string) string {
	return fmt.Sprintf(`{"metadata":{"name":"kms"},"spec":{"tls":[%s]},"status":{"loadBalancer":{"ingress":[%s]}}}`, tls, status)
}

// Each row is what a user may have in the cluster. faults/network.md, "Responder
// for a user with Kairos in Kubernetes".
func TestKubeTargets(t *testing.T) {
	names := map[string][]netip.Addr{"lb.example.com": {netip.MustParseAddr("::ffff:192.0.2.9"), netip.MustParseAddr("2001:db8::9")}}
	lookUp := func(_ context.Context, host string) ([]netip.Addr, error) {
		if a, ok := names[host]; ok {
			return a, nil
		}
		return nil, errors.New("no such host")
	}
	for _, row := range []struct {
		name, kind, port, object string
		want                     string // targets, or part of the reason
	}{
		{"external IPs", "Service", "lk1", kubeService("ClusterIP", `"192.0.2.5","2001:db8::5"`, ""), "192.0.2.5:8443 [2001:db8::5]:8443"},
		{"load balancer", "Service", "lk1", kubeService("LoadBalancer", "", `{"ip":"192.0.2.6"}`), "192.0.2.6:8443"},
		{"load balancer with a name only, as on AWS", "Service", "lk1", kubeService("LoadBalancer", "", `{"hostname":"lb.example.com"}`), "192.0.2.9:8443 [2001:db8::9]:8443"},
		{"both, and one twice", "Service", "lk1", kubeService("LoadBalancer", `"192.0.2.6"`, `{"ip":"192.0.2.6"},{"ip":"192.0.2.7"}`), "192.0.2.6:8443 192.0.2.7:8443"},
		{"a name that does not resolve, beside an address", "Service", "lk1", kubeService("LoadBalancer", "", `{"ip":"192.0.2.6"},{"hostname":"gone.example.com"}`), "192.0.2.6:8443"},
		{"node port, as Kairos' 30000", "Service", "lk1", kubeService("NodePort", "", ""), ":30000"},
		{"load balancer that has no address yet: its node port", "Service", "lk1", kubeService("LoadBalancer", "", ""), ":30000"},
		{"a name that does not resolve: the node port", "Service", "lk1", kubeService("LoadBalancer", "", `{"hostname":"gone.example.com"}`), ":30000"},
		{"port by number", "Service", "9443", kubeService("NodePort", "", ""), ":31000"},
		{"the first TCP port", "Service", "", kubeService("LoadBalancer", "", `{"ip":"192.0.2.6"}`), "192.0.2.6:9443"},
		{"a port that is not there", "Service", "nosuch", kubeService("NodePort", "", ""), `Service keys/kms has no TCP port "nosuch", but admin 9443, lk1 8443`},
		{"no TCP port", "Service", "", `{"spec":{"ports":[{"name":"dns","protocol":"UDP","port":53}]}}`, "Service keys/kms has no TCP port"},
		{"ClusterIP", "Service", "lk1", kubeService("ClusterIP", "", ""), "make it a LoadBalancer or a NodePort, give it externalIPs, or use --kubernetes-ingress"},
		{"load balancer without node ports and address", "Service", "", `{"spec":{"type":"LoadBalancer","ports":[{"port":1}]}}`, "has no address yet"},
		{"another name", "Service", "", `{"spec":{"type":"ExternalName","ports":[{"port":1}]}}`, "give the KMS's address by --target"},
		{"no Service", "Service", "", "", "Service keys/kms does not exist"},
		{"no JSON of a Service", "Service", "", `{"spec":7}`, "cannot be read"},
		{"Ingress", "Ingress", "", kubeIngress("", `{"ip":"192.0.2.6"}`), "192.0.2.6:80"},
		{"Ingress with TLS and a name", "Ingress", "", kubeIngress("{}", `{"hostname":"lb.example.com"}`), "192.0.2.9:443 [2001:db8::9]:443"},
		{"Ingress at another port", "Ingress", "8080", kubeIngress("{}", `{"ip":"192.0.2.6"}`), "192.0.2.6:8080"},
		{"Ingress with a name for a port", "Ingress", "http", kubeIngress("", `{"ip":"192.0.2.6"}`), `Ingress keys/kms has no port "http": its port is a number`},
		{"Ingress without address", "Ingress", "", kubeIngress("", ""), "its controller has not given it one"},
		{"Ingress whose name does not resolve", "Ingress", "", kubeIngress("", `{"hostname":"gone.example.com"}`), "no such host"},
		{"no JSON of an Ingress", "Ingress", "", `{"spec":7}`, "cannot be read"},
	} {
		t.Run(row.name, func(t *testing.T) {
			k := &kubeSource{kind: row.kind, namespace: "keys", name: "kms", port: row.port, lookUp: lookUp, o: options{hosts: []string{"kms.local"}, services: []string{"_latchkey._tcp"}}}
			var object json.RawMessage
			if row.object != "" {
				object = json.RawMessage(row.object)
			}

			targets, why := k.targets(t.Context(), object)
			var texts []string
			for _, target := range targets {
				if target.host != "kms.local" || target.services != "_latchkey._tcp" {
					t.Errorf("target %+v, want the host and services of the flags", target)
				}
				texts = append(texts, text(target.addr))
			}
			if got := strings.Join(texts, " "); got != row.want && (len(texts) > 0 || !strings.Contains(why, row.want)) {
				t.Errorf("targets() = %s, %q, want %s", got, why, row.want)
			}
			if len(targets) > 0 && why != "" {
				t.Errorf("targets() = %s, and the reason %q", texts, why)
			}
		})
	}
}

// A load balancer's name is looked up again: AWS moves them.
func TestKubeNameMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var at byte = 5
		k := &kubeSource{kind: "Service", namespace: "keys", name: "kms", port: "lk1", o: options{hosts: []string{"kms.local"}}, lookUp: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, at})}, nil
		}}
		objects := make(chan json.RawMessage)
		var seen []string
		go k.evaluate(ctx, objects, func(targets []target, _ string) { seen = append(seen, text(targets[0].addr)) })
		objects <- json.RawMessage(kubeService("LoadBalancer", "", `{"hostname":"lb.example.com"}`))
		time.Sleep(10 * time.Minute) // nothing new: nothing said
		at = 6
		time.Sleep(lookUpEvery + time.Second)
		if want := []string{"192.0.2.5:8443", "192.0.2.6:8443"}; !slices.Equal(seen, want) {
			t.Errorf("targets %v, want %v", seen, want)
		}
		cancel()
		synctest.Wait()
	})
}

// followed starts a source on a fake API server, and returns what it sets.
func followed(t *testing.T, a *apiServer, log io.Writer) <-chan string {
	t.Helper()
	dir := a.account(t, t.TempDir())
	k := &kubeSource{kind: "Service", namespace: "keys", name: "kms", port: "lk1", o: options{hosts: []string{"kms.local"}}}
	var err error
	if k.client, err = kube.New(kube.Config{Server: a.URL, CA: dir + "/ca.crt", Token: dir + "/token"}); err != nil {
		t.Fatal(err)
	}
	set := make(chan string, 8)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go k.follow(ctx, slog.New(slog.NewTextHandler(log, nil)), func(targets []target, why string) {
		if len(targets) > 0 {
			why = text(targets[0].addr)
		}
		set <- why
	})
	return set
}

func expect(t *testing.T, set <-chan string, want string) {
	t.Helper()
	select {
	case got := <-set:
		if got != want {
			t.Fatalf("targets %q, want %q", got, want)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("no change, want %q", want)
	}
}

// A Service that is deleted while the watch is down is gone when it is up
// again: the list says so.
func TestKubeDeletedUnseen(t *testing.T) {
	a := newAPI(t, loopback(t))
	a.object = kubeService("LoadBalancer", "", `{"ip":"192.0.2.5"}`)
	set := followed(t, a, t.Output())
	expect(t, set, "192.0.2.5:8443")
	a.watched(t)
	a.mu.Lock()
	a.object, a.watches = "", nil
	a.mu.Unlock()
	a.CloseClientConnections()
	expect(t, set, "Service keys/kms does not exist")
}

func TestKubeChanges(t *testing.T) {
	a := newAPI(t, loopback(t))
	set := followed(t, a, t.Output())
	expect(t, set, "Service keys/kms does not exist")
	a.watched(t)
	a.change("ADDED", kubeService("NodePort", "", ""))
	expect(t, set, ":30000")
	a.change("MODIFIED", kubeService("LoadBalancer", "", `{"ip":"192.0.2.5"}`))
	expect(t, set, "192.0.2.5:8443")
	a.change("MODIFIED", kubeService("LoadBalancer", "", `{"ip":"192.0.2.5"}`)) // nothing that matters
	a.change("DELETED", kubeService("LoadBalancer", "", `{"ip":"192.0.2.5"}`))
	expect(t, set, "Service keys/kms does not exist")
}

// What the role lacks is said; what was known stays.
func TestKubeForbidden(t *testing.T) {
	a := newAPI(t, loopback(t))
	a.object = kubeService("LoadBalancer", "", `{"ip":"192.0.2.5"}`)
	log := &buffer{}
	set := followed(t, a, log)
	expect(t, set, "192.0.2.5:8443")
	a.watched(t)
	a.mu.Lock()
	a.status = http.StatusForbidden
	a.mu.Unlock()
	a.CloseClientConnections()
	testlan.Await(t, "the complaint", func() bool {
		return strings.Contains(log.String(), "services is forbidden") && strings.Contains(log.String(), "get, list and watch on services in namespace keys")
	})
	select {
	case got := <-set:
		t.Errorf("targets %q, want the old ones kept", got)
	default:
	}
}

// The whole way: a pod on the LAN, a cluster, a machine that asks. NodePort
// leads to the node's own address.
func TestKubernetes(t *testing.T) {
	l := newLAN(t, byName)
	listener, err := net.Listen("tcp", "192.0.2.10:0")
	if err != nil {
		t.Fatal(err)
	}
	a := newAPI(t, listener)
	a.object = kubeService("LoadBalancer", "", `{"ip":"192.0.2.5"}`)
	// The test server's certificate is for 127.0.0.1 and example.com.
	proxy(t, l, netip.MustParseAddrPort(listener.Addr().String()).Port())
	l.Start("env", responder(t, pod, "--interface", "lan0", "--kubernetes-service", "keys/kms:lk1", "--kubernetes-account", a.account(t, t.TempDir()),
		"--check", "off", "--verbose", "--listen", "127.0.0.1:9741")...)
	l.finds(t, "192.0.2.5:8443")
	a.change("MODIFIED", kubeService("NodePort", "", ""))
	l.finds(t, "192.0.2.1:8443") // the port is the URL's
	a.change("MODIFIED", kubeService("ClusterIP", "", ""))
	testlan.Await(t, "the reason in the status", func() bool {
		out, err := l.Command("env", responder(t, nil, "status")...).CombinedOutput()
		return err != nil && strings.Contains(string(out), "nothing is announced: Service keys/kms has type ClusterIP")
	})
	testlan.Await(t, "the goodbye", func() bool { return l.find(50*time.Millisecond) == "none" })
}
