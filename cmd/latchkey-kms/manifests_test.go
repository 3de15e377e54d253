package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"latchkey/internal/kube"
	"latchkey/kms/store/kube/kubetest"
)

// resources are where the API server takes a kind: its path, and whether it
// stands in a namespace.
var resources = map[string]string{
	"Namespace": "/api/v1/namespaces", "ServiceAccount": "/api/v1/namespaces/NS/serviceaccounts", "Service": "/api/v1/namespaces/NS/services",
	"Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/NS/roles", "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/NS/rolebindings",
	"Deployment": "/apis/apps/v1/namespaces/NS/deployments", "DaemonSet": "/apis/apps/v1/namespaces/NS/daemonsets", "Job": "/apis/batch/v1/namespaces/NS/jobs",
	"NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/NS/networkpolicies", "PodDisruptionBudget": "/apis/policy/v1/namespaces/NS/poddisruptionbudgets",
	"CustomResourceDefinition": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
	"SealedVolume":             "/apis/keyserver.kairos.io/v1alpha1/namespaces/NS/sealedvolumes",
}

const manifests = "../../images/kubernetes/"

// applyManifests creates what the manifests say; a field that the API server
// does not know is an error.
func applyManifests(t testing.TB, server *kubetest.Server) {
	t.Helper()
	admin := server.Client(t, kubetest.Admin)
	defer admin.Close()
	for _, name := range []string{"crd.yaml", "kms.yaml", "init.yaml", "responder.yaml"} {
		applyManifest(t, admin, name)
	}

	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) { // the CRD is served a moment later
		err := admin.Do(context.Background(), http.MethodGet, pathOf("SealedVolume", "keys"), nil, nil, nil)
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("SealedVolumes are not served: %v", err)
		}
	}
}

func applyManifest(t testing.TB, admin *kube.Client, name string) {
	t.Helper()
	file, err := os.ReadFile(manifests + name)
	if err != nil {
		t.Fatal(err)
	}
	for d := yaml.NewDecoder(bytes.NewReader(file)); ; {
		var object map[string]any
		if err := d.Decode(&object); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		applyObject(t, admin, name, object)
	}
}

func pathOf(kind, namespace string) string {
	return strings.Replace(resources[kind], "NS", namespace, 1)
}

func applyObject(t testing.TB, admin *kube.Client, file string, object map[string]any) {
	t.Helper()
	kind, _ := object["kind"].(string)
	meta, _ := object["metadata"].(map[string]any)
	namespace, _ := meta["namespace"].(string)
	if resources[kind] == "" {
		t.Fatalf("%s has a %q, which the test does not know", file, kind)
	}
	err := admin.Do(context.Background(), http.MethodPost, pathOf(kind, namespace), url.Values{"fieldValidation": {"Strict"}}, object, nil)
	if err != nil {
		t.Fatalf("%s: applying %s %v: %v", file, kind, meta["name"], err)
	}
}

// The tests share one API server, which takes seconds to start.
func TestKube(t *testing.T) {
	server := kubetest.Start(t)
	applyManifests(t, server)
	t.Run("rights", func(t *testing.T) { kubeRights(t, server) })
	t.Run("scripts", func(t *testing.T) {
		storeScripts(t, "testdata/kube", map[string]string{"KUBE": server.URL, "CA": server.CA, "TOKEN": server.Token(kubetest.Account)}, nil)
	})
	t.Run("kairos", func(t *testing.T) { kubeKairos(t, server) })
}

// kubeRights: the account can do what the store needs and nothing else.
func kubeRights(t *testing.T, server *kubetest.Server) {
	account := server.Client(t, kubetest.Account)
	defer account.Close()
	for _, row := range []struct {
		method, path string
		allowed      bool
	}{
		{"GET", "/api/v1/namespaces/keys/secrets", true},
		{"GET", pathOf("SealedVolume", "keys"), true},
		{"GET", "/api/v1/namespaces/default/secrets", false},
		{"GET", "/api/v1/secrets", false},
		{"GET", "/api/v1/nodes", false},
		{"GET", "/api/v1/namespaces/keys/pods", false},
		{"GET", pathOf("SealedVolume", "default"), false},
		{"POST", pathOf("SealedVolume", "keys"), false},
		{"DELETE", "/api/v1/namespaces/keys/secrets/x", false},
		{"DELETE", "/api/v1/namespaces/keys/secrets", false},
		{"POST", "/api/v1/namespaces/keys/serviceaccounts/latchkey-kms/token", false},
	} {
		err := account.Do(context.Background(), row.method, row.path, nil, nil, nil)
		if allowed := kube.CodeOf(err) != http.StatusForbidden; allowed != row.allowed {
			t.Errorf("%s %s = %v; allowed must be %t", row.method, row.path, err, row.allowed)
		}
	}
}
