// Package charts tests the Helm charts: rendered and installed by Helm
// itself, judged by a real kube-apiserver.
package charts

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// helmEnv names Helm's program; "-" is none, on purpose.
const helmEnv = "LATCHKEY_HELM"

// need is Helm, as images/helm built it before. In CI it must be there.
func need(t *testing.T) string {
	t.Helper()
	switch path := os.Getenv(helmEnv); path {
	case "-":
		t.Skip("without a kube-apiserver, on purpose")
	case "":
	default:
		return path
	}
	out, err := exec.Command("../images/helm", "--cached").Output()
	if err != nil {
		t.Fatal(err)
	}
	path := strings.TrimSpace(string(out))
	if path == "" && os.Getenv("CI") != "" {
		t.Fatal("there is no helm here; build it with images/helm")
	}
	if path == "" {
		t.Skip("needs helm, which is not built yet: make test KUBE=1 builds it, once")
	}
	return path
}

// helm runs it without anything of the user's.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	home := t.TempDir()
	cmd := exec.Command(need(t), args...)
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CACHE_HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_DATA_HOME="+home)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = errors.New(stderr.String())
	}
	return string(out), err
}

type object = map[string]any

// oldest is the first version of Kubernetes that the charts are for.
const oldest = "1.25.0"

// render is what the chart makes of values, by kind and name.
func render(t *testing.T, values string, args ...string) (map[string]object, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := helm(t, append([]string{"template", "latchkey", "latchkey", "--namespace", "keys", "--kube-version", oldest, "--values", file}, args...)...)
	if err != nil {
		return nil, err
	}
	return objects(t, out), nil
}

func objects(t *testing.T, text string) map[string]object {
	t.Helper()
	all := map[string]object{}
	for d := yaml.NewDecoder(strings.NewReader(text)); ; {
		var o object
		if err := d.Decode(&o); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("%v:\n%s", err, text)
		}
		if o == nil {
			continue
		}
		key := at(o, "kind").(string) + " " + at(o, "metadata", "name").(string)
		if all[key] != nil {
			t.Fatalf("there are two of %s", key)
		}
		all[key] = o
	}
}

// at is a field by its path; a number is a place in a list.
func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			o, _ := v.(object)
			v = o[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

var args = []any{"spec", "template", "spec", "containers", 0, "args"}

// TestValues: what each value does to what.
func TestValues(t *testing.T) {
	for _, row := range []struct {
		name, values, object string
		path                 []any
		want                 any
	}{
		{"two servers", "", "Deployment latchkey-kms", []any{"spec", "replicas"}, 2},
		{"an image by tag", "image: {repository: r.example.org/kms, tag: 1.2.0}", "Deployment latchkey-kms", []any{"spec", "template", "spec", "containers", 0, "image"}, "r.example.org/kms:1.2.0"},
		{"an image by digest", "image: {digest: 'sha256:" + strings.Repeat("ab", 32) + "'}", "Job latchkey-kms-init", []any{"spec", "template", "spec", "containers", 0, "image"}, "latchkey-kms@sha256:" + strings.Repeat("ab", 32)},
		{"the responder's own image", "image: {tag: x}", "DaemonSet latchkey-responder", []any{"spec", "template", "spec", "containers", 0, "image"}, "latchkey-responder:0.1.0"},
		{"arguments", "", "Deployment latchkey-kms", args, list("serve", "--data=/data/kms", "--store=kube:keys", "--wrapping-key=/wrapping/wrapping.key", "--listen=:7741", "--metrics-listen=:9742", "--protocol=lk1")},
		{
			"Kairos", "{protocols: [lk1, kairos], tls: {secret: kms-tls}, writeBack: volumes, config: {enroll: closed}, extraArgs: [--advertise=x]}", "Deployment latchkey-kms", args,
			list("serve", "--data=/data/kms", "--store=kube:keys", "--wrapping-key=/wrapping/wrapping.key", "--listen=:7741", "--metrics-listen=:9742", "--protocol=lk1,kairos",
				"--config=/etc/latchkey/kms.yaml", "--tls-cert=/tls/tls.crt", "--tls-key=/tls/tls.key", "--store-write-back=volumes", "--advertise=x"),
		},
		{"its rights", "writeBack: volumes", "Role latchkey-kms", []any{"rules", 1, "verbs"}, list("get", "list", "watch", "create")},
		{"no more rights", "", "Role latchkey-kms", []any{"rules", 1, "verbs"}, list("get", "list", "watch")},
		{"no deleting", "", "Role latchkey-kms", []any{"rules", 0, "verbs"}, list("get", "list", "watch", "create", "update")},
		{"kms.yaml", "config: {enroll: closed}", "ConfigMap latchkey-kms", []any{"data", "kms.yaml"}, "enroll: closed"},
		{"a node port", "service: {type: NodePort, nodePort: 30000, externalTrafficPolicy: Cluster}", "Service latchkey-kms", []any{"spec", "ports", 0, "nodePort"}, 30000},
		{"a load balancer", "service: {loadBalancerIP: 192.0.2.5}", "Service latchkey-kms", []any{"spec", "loadBalancerIP"}, "192.0.2.5"},
		{"inside only", "service: {type: ClusterIP}", "Service latchkey-kms", []any{"spec", "externalTrafficPolicy"}, nil},
		{"cert-manager", "ingress: {enabled: true, host: kms.example.org, tls: {secret: s, clusterIssuer: acme}}", "Ingress latchkey-kms", []any{"metadata", "annotations", "cert-manager.io/cluster-issuer"}, "acme"},
		{"its host", "ingress: {enabled: true, host: kms.example.org, tls: {secret: s, issuer: acme}}", "Ingress latchkey-kms", []any{"spec", "tls", 0, "hosts", 0}, "kms.example.org"},
		{"the responder announces the Service", "", "DaemonSet latchkey-responder", args, list("--host=kms.local", "--kubernetes-service=keys/latchkey-kms:lk1")},
		{
			"the responder announces the Ingress", "{ingress: {enabled: true}, responder: {hosts: [a.local, b.local], services: [_kcrypt._tcp], interfaces: [en*]}}", "DaemonSet latchkey-responder", args,
			list("--host=a.local,b.local", "--kubernetes-ingress=keys/latchkey-kms", "--service=_kcrypt._tcp", "--interface=en*"),
		},
		{"the responder's namespace", "responder: {namespace: lan}", "DaemonSet latchkey-responder", []any{"metadata", "namespace"}, "lan"},
		{"its account is from there", "responder: {namespace: lan}", "RoleBinding latchkey-responder", []any{"subjects", 0, "namespace"}, "lan"},
		{"its rights are here", "responder: {namespace: lan}", "RoleBinding latchkey-responder", []any{"metadata", "namespace"}, "keys"},
		{"who reads metrics", "networkPolicy: {monitoringNamespace: prom}", "NetworkPolicy latchkey-kms", []any{"spec", "ingress", 1, "from", 0, "namespaceSelector", "matchLabels", "kubernetes.io/metadata.name"}, "prom"},
		{"one stays", "", "PodDisruptionBudget latchkey-kms", []any{"spec", "minAvailable"}, 1},
		{"Prometheus", "serviceMonitor: {enabled: true, interval: 10s}", "ServiceMonitor latchkey-kms", []any{"spec", "endpoints", 0, "interval"}, "10s"},
	} {
		all, err := render(t, row.values)
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		if diff := cmp.Diff(row.want, at(all[row.object], row.path...)); all[row.object] == nil || diff != "" {
			t.Errorf("%s: %s %v (-want +got):\n%s", row.name, row.object, row.path, diff)
		}
	}
}

func list(words ...string) (all []any) {
	for _, w := range words {
		all = append(all, w)
	}
	return all
}

// TestWrongValues: what cannot be meant is refused, by its name.
func TestWrongValues(t *testing.T) {
	for _, row := range []struct{ values, want string }{
		{"replica: 3", "replica"},
		{"service: {type: Loadbalancer}", "service.type|/service/type"},
		{"service: {nodePort: 70000}", "nodePort"},
		{"image: {digest: 'sha256:ab'}", "digest"},
		{"protocols: []", "protocols"},
		{"protocols: [talos]", "protocols"},
		{"writeBack: true", "writeBack"},
		{"responder: {hosts: [kms.example.org]}", "hosts"},
		{"wrapping: {secret: ''}", "secret"},
		{"ingress: {enabled: true, tls: {secret: s}}", "ingress.tls.secret needs ingress.host"},
		{"ingress: {enabled: true, tls: {issuer: i}}", "need ingress.tls.secret"},
	} {
		_, err := render(t, row.values)
		named := false
		for word := range strings.SplitSeq(row.want, "|") {
			named = named || err != nil && strings.Contains(err.Error(), word)
		}
		if !named {
			t.Errorf("values %s: %v, want an error that names %q", row.values, err, row.want)
		}
	}
}

// TestAbsent: what was not asked for, or switched off, is not there.
func TestAbsent(t *testing.T) {
	usual, err := render(t, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []string{"Ingress latchkey-kms", "ServiceMonitor latchkey-kms", "ConfigMap latchkey-kms"} {
		if usual[o] != nil {
			t.Errorf("%s is there by default", o)
		}
	}
	off, err := render(t, "{responder: {enabled: false}, networkPolicy: {enabled: false}, podDisruptionBudget: {enabled: false}, init: false}")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []string{"DaemonSet latchkey-responder", "Role latchkey-responder", "NetworkPolicy latchkey-kms", "PodDisruptionBudget latchkey-kms", "Job latchkey-kms-init"} {
		if usual[o] == nil || off[o] != nil {
			t.Errorf("%s: by default %v, switched off %v", o, usual[o] != nil, off[o] != nil)
		}
	}
	if upgraded, err := render(t, "", "--is-upgrade"); err != nil || upgraded["Job latchkey-kms-init"] != nil {
		t.Errorf("an upgrade makes keys (%v)", err)
	}
}

// TestCRDs: the chart has the CRD of images/kubernetes, and keeps it.
func TestCRDs(t *testing.T) {
	out, err := helm(t, "template", "crds", "latchkey-crds", "--kube-version", oldest)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../images/kubernetes/crd.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const name = "CustomResourceDefinition sealedvolumes.keyserver.kairos.io"
	got, want := objects(t, out)[name], objects(t, string(text))[name]
	if kept := at(got, "metadata", "annotations", "helm.sh/resource-policy"); kept != "keep" {
		t.Errorf("the resource policy is %v", kept)
	}
	delete(at(got, "metadata").(object), "annotations")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the CRD (-images/kubernetes +chart):\n%s", diff)
	}
}
