package charts

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"latchkey/kms/store/kube/kubetest"
)

// A cluster is an API server without controllers: nothing of what is
// installed runs.
type cluster struct {
	*kubetest.Server
	config string // kubeconfig of the administrator
}

// paths are where objects of a kind are created; NS is the namespace.
var paths = map[string]string{
	"ServiceAccount": "/api/v1/namespaces/NS/serviceaccounts", "Service": "/api/v1/namespaces/NS/services", "ConfigMap": "/api/v1/namespaces/NS/configmaps",
	"Pod": "/api/v1/namespaces/NS/pods", "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/NS/roles", "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/NS/rolebindings",
	"Deployment": "/apis/apps/v1/namespaces/NS/deployments", "DaemonSet": "/apis/apps/v1/namespaces/NS/daemonsets", "Job": "/apis/batch/v1/namespaces/NS/jobs",
	"NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/NS/networkpolicies", "Ingress": "/apis/networking.k8s.io/v1/namespaces/NS/ingresses",
	"PodDisruptionBudget": "/apis/policy/v1/namespaces/NS/poddisruptionbudgets", "ServiceMonitor": "/apis/monitoring.coreos.com/v1/namespaces/NS/servicemonitors",
}

// monitors stands for the CRD of Prometheus' operator.
var monitors = object{
	"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": object{"name": "servicemonitors.monitoring.coreos.com"},
	"spec": object{
		"group": "monitoring.coreos.com", "scope": "Namespaced",
		"names": object{"kind": "ServiceMonitor", "listKind": "ServiceMonitorList", "plural": "servicemonitors", "singular": "servicemonitor"},
		"versions": []any{object{
			"name": "v1", "served": true, "storage": true,
			"schema": object{"openAPIV3Schema": object{"type": "object", "properties": object{"spec": object{"type": "object", "properties": object{
				"selector":  object{"type": "object", "properties": object{"matchLabels": object{"type": "object", "additionalProperties": object{"type": "string"}}}},
				"endpoints": object{"type": "array", "items": object{"type": "object", "properties": object{"port": object{"type": "string"}, "interval": object{"type": "string"}}}},
			}}}}},
		}},
	},
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	need(t)
	c := &cluster{Server: kubetest.Start(t), config: filepath.Join(t.TempDir(), "kubeconfig")}
	token, err := os.ReadFile(c.Token(kubetest.Admin))
	if err != nil {
		t.Fatal(err)
	}
	config := "{apiVersion: v1, kind: Config, current-context: x, contexts: [{name: x, context: {cluster: x, user: x}}], clusters: [{name: x, cluster: {server: '" +
		c.URL + "', certificate-authority: '" + c.CA + "'}}], users: [{name: x, user: {token: " + string(token) + "}}]}\n"
	if err := os.WriteFile(c.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, level := range map[string]string{"keys": "restricted", "lan": "privileged"} {
		c.Must(t, "POST", "/api/v1/namespaces", object{
			"apiVersion": "v1", "kind": "Namespace",
			"metadata": object{"name": name, "labels": object{"pod-security.kubernetes.io/enforce": level}},
		}, nil)
	}
	c.Must(t, "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", monitors, nil)
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) { // it is served a moment later
		if status, _, err := c.Do("admin-token", "GET", strings.Replace(paths["ServiceMonitor"], "NS", "keys", 1), nil, nil); err == nil && status == http.StatusOK {
			return c
		}
		if time.Now().After(end) {
			t.Fatal("ServiceMonitors are not served")
		}
	}
}

// get is an object that is there, or nil.
func (c *cluster) get(t *testing.T, kind, namespace, name string) object {
	t.Helper()
	var o object
	status, body, err := c.Do("admin-token", "GET", strings.Replace(paths[kind], "NS", namespace, 1)+"/"+name, nil, &o)
	if err != nil || status != http.StatusOK && status != http.StatusNotFound {
		t.Fatalf("getting %s %s: %d %s %v", kind, name, status, body, err)
	}
	return o
}

// judge has the API server judge an object, strictly, and create nothing.
func (c *cluster) judge(t *testing.T, o object) {
	t.Helper()
	kind := at(o, "kind").(string)
	namespace, _ := at(o, "metadata", "namespace").(string)
	path := strings.Replace(paths[kind], "NS", namespace, 1) + "?dryRun=All&fieldValidation=Strict"
	if status, body, err := c.Do("admin-token", "POST", path, o, nil); err != nil || status != http.StatusCreated {
		t.Errorf("%s %v: %d %s %v", kind, at(o, "metadata", "name"), status, body, err)
	}
	pod, ok := at(o, "spec", "template").(object)
	if !ok {
		return
	}
	// The pod that a controller would make, for the namespace's standard of
	// security, which refuses pods and not their controllers. Priority
	// classes are made by a controller of the API server, a moment later.
	delete(at(pod, "spec").(object), "priorityClassName")
	c.judge(t, object{
		"apiVersion": "v1", "kind": "Pod", "spec": pod["spec"],
		"metadata": object{"name": at(o, "metadata", "name"), "namespace": namespace, "labels": at(pod, "metadata", "labels")},
	})
}

// TestCluster: what the chart makes is what the API server knows, pods keep
// to the namespace's standard of security, and releases of all values that
// ever were are upgraded.
//
// compatible: Kairos, Talos, Kubernetes | Helm 3 | installs, upgrades and removes the chart on a kube-apiserver
func TestCluster(t *testing.T) {
	c := newCluster(t)
	for name, values := range map[string]string{
		"default":      "responder: {namespace: lan}",
		"everything":   "",
		"node port":    "{responder: {namespace: lan}, service: {type: NodePort, nodePort: 30000, externalTrafficPolicy: Cluster}}",
		"class and IP": "{responder: {namespace: lan}, service: {loadBalancerIP: 192.0.2.5, loadBalancerClass: example.org/lb, loadBalancerSourceRanges: [192.0.2.0/24]}}",
	} {
		t.Run("strict/"+name, func(t *testing.T) {
			var args []string
			if name == "everything" {
				args = []string{"--values", "testdata/values/0.1.0.yaml"}
			}
			all, err := render(t, values, args...)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range all {
				c.judge(t, o)
			}
		})
	}
	old, err := filepath.Glob("testdata/values/*.yaml")
	if err != nil || len(old) == 0 {
		t.Fatalf("no values of earlier versions (%v)", err)
	}
	for _, values := range old {
		t.Run("upgrade/"+filepath.Base(values), func(t *testing.T) { c.upgrades(t, values) })
	}
}

// upgrades installs the chart with a version's values, changes some, and
// removes it.
func (c *cluster) upgrades(t *testing.T, values string) {
	do := func(args ...string) error {
		out, err := helm(t, append(args, "--kubeconfig", c.config, "--namespace", "keys")...)
		t.Log(out)
		return err
	}
	if err := do("install", "latchkey", "latchkey", "--values", values); err != nil {
		t.Fatal(err)
	}
	if c.get(t, "Job", "keys", "latchkey-kms-init") == nil {
		t.Error("nothing makes the keys")
	}
	token := "token-" + kubetest.Account
	const secrets = "/api/v1/namespaces/keys/secrets"
	secret := object{"apiVersion": "v1", "kind": "Secret", "metadata": object{"name": "kept"}}
	for _, row := range []struct {
		method, path string
		in           any
		want         int
	}{
		{"POST", secrets, secret, http.StatusCreated},
		{"GET", secrets + "/kept", nil, http.StatusOK},
		{"DELETE", secrets + "/kept", nil, http.StatusForbidden},
		{"GET", "/api/v1/namespaces/lan/secrets", nil, http.StatusForbidden},
	} {
		if status, body, err := c.Do(token, row.method, row.path, row.in, nil); err != nil || status != row.want {
			t.Errorf("the server's account: %s %s: %d %s %v, want %d", row.method, row.path, status, body, err, row.want)
		}
	}

	if err := do("upgrade", "latchkey", "latchkey", "--values", values, "--set", "replica=1"); err == nil {
		t.Error("an upgrade to a value that does not exist succeeded")
	}
	if err := do("upgrade", "latchkey", "latchkey", "--values", values, "--set", "replicas=1,image.tag=0.2.0,ingress.enabled=false,responder.hosts={new.local}"); err != nil {
		t.Fatal(err)
	}
	d := c.get(t, "Deployment", "keys", "latchkey-kms")
	got := []any{at(d, "spec", "replicas"), at(d, "spec", "template", "spec", "containers", 0, "image"), at(c.get(t, "DaemonSet", "lan", "latchkey-responder"), append(args, 0)...)}
	if diff := cmp.Diff([]any{1.0, "registry.example.org/latchkey-kms:0.2.0", "--host=new.local"}, got); diff != "" {
		t.Errorf("after the upgrade (-want +got):\n%s", diff)
	}
	for _, gone := range []string{"Job latchkey-kms-init", "Ingress latchkey-kms"} {
		kind, name, _ := strings.Cut(gone, " ")
		if o := c.get(t, kind, "keys", name); o != nil && at(o, "metadata", "deletionTimestamp") == nil {
			t.Errorf("%s is still there after the upgrade", gone)
		}
	}

	if err := do("uninstall", "latchkey"); err != nil {
		t.Fatal(err)
	}
	if status, _, err := c.Do("admin-token", "GET", secrets+"/kept", nil, nil); err != nil || status != http.StatusOK {
		t.Errorf("what the server kept is gone with the chart: %d %v", status, err)
	}
	if c.get(t, "Deployment", "keys", "latchkey-kms") != nil {
		t.Error("the Deployment is still there")
	}
	c.Must(t, "DELETE", secrets+"/kept", nil, nil)
}
