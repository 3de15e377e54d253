package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	kairoskeeper "latchkey/kms/server/kairos/keeper"

	"latchkey/internal/kube"
	"latchkey/kms/config"
	"latchkey/kms/home"
	"latchkey/kms/server/kairos"
	"latchkey/kms/server/kairos/kairostest"
	"latchkey/kms/store/kube/kubetest"
)

// kubeKairos: a cluster as Kairos' operator leaves it works as it is: two
// servers follow its SealedVolumes and Secrets, with the rights of the
// manifests.
func kubeKairos(t *testing.T, api *kubetest.Server) {
	admin := api.Client(t, kubetest.Admin)
	defer admin.Close()
	tpm, err := kairostest.NewSoft()
	if err != nil {
		t.Fatal(err)
	}

	volume := sealedVolume("machine-a", tpm.Hash(), map[string]any{"label": "COS_PERSISTENT", "secret": map[string]any{"name": "mine", "path": "key"}})
	applyObject(t, admin, "SealedVolume", volume)
	post(t, admin, "/api/v1/namespaces/keys/secrets", map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "mine"}, "stringData": map[string]string{"key": "of the cluster"},
	})
	dir := t.TempDir()
	at := "kube:keys/fleet?server=" + url.QueryEscape(api.URL) + "&token=" + url.QueryEscape(api.Token(kubetest.Account))
	place, err := config.ParsePlace(at, config.Place{CA: api.CA})
	if err != nil {
		t.Fatal(err)
	}
	var nodes []*kairostest.Node

	for i, name := range []string{"one", "two"} {
		h := home.Home{Location: config.Location{Data: filepath.Join(dir, name), Place: place, Wrapping: config.Wrapping{Key: filepath.Join(dir, "wrapping.key")}}}
		if i == 0 {
			_, err = h.Create(context.Background(), nil)
		} else {
			_, _, err = h.Join(context.Background(), false)
		}
		if err != nil {
			t.Fatal(err)
		}

		c, address := serveAs(t, h, "--store", at, "--protocol", "lk1,kairos", "--store-write-back", "secrets")
		t.Cleanup(func() { c.Process.Signal(syscall.SIGTERM); c.Wait() })
		nodes = append(nodes, &kairostest.Node{URL: address, TPM: tpm, Want: kairos.Request{Label: "COS_PERSISTENT", Name: "vda5"}})
	}

	until(t, nodes, "of the cluster", "")

	put := func(change func(map[string]any)) {
		var now map[string]any
		path := pathOf("SealedVolume", "keys") + "/machine-a"
		if err := admin.Do(context.Background(), http.MethodGet, path, nil, nil, &now); err != nil {
			t.Fatal(err)
		}
		change(now["spec"].(map[string]any))
		if err := admin.Do(context.Background(), http.MethodPut, path, nil, now, nil); err != nil {
			t.Fatal(err)
		}
	}

	put(func(spec map[string]any) { spec["quarantined"] = true })
	until(t, nodes, "", "TPM is quarantined")
	put(func(spec map[string]any) { spec["quarantined"] = false })
	until(t, nodes, "of the cluster", "")
	if err := admin.Do(context.Background(), http.MethodDelete, pathOf("SealedVolume", "keys")+"/machine-a", nil, nil, nil); err != nil {
		t.Fatal(err)
	}

	until(t, nodes, "", "TPM is quarantined")
	applyObject(t, admin, "SealedVolume", volume)
	until(t, nodes, "of the cluster", "")
	mintedOnce(t, admin, nodes)
	writtenBack(t, admin, filepath.Join(dir, "one"), nodes)
	var known []kairoskeeper.Node
	h := home.Home{Location: config.Location{Data: filepath.Join(dir, "one")}}
	if err := callAt(context.Background(), h, "GET", "/v1/kairos/nodes", nil, nil, &known); err != nil || len(known) != 2 {
		t.Errorf("the KMS knows %v, %v, want two machines", known, err)
	}
}

// mintedOnce: both servers are asked at once for a passphrase that nobody has
// made yet.
func mintedOnce(t *testing.T, admin *kube.Client, nodes []*kairostest.Node) {
	t.Helper()
	volume := sealedVolume("machine-a-more", nodes[0].TPM.(*kairostest.Soft).Hash(), nil)
	var partitions []any
	for i := range 8 {
		partitions = append(partitions, map[string]any{"label": fmt.Sprint("DATA", i)})
	}

	volume["spec"].(map[string]any)["partitions"] = partitions
	applyObject(t, admin, "SealedVolume", volume)
	for i := range 8 {
		var got [2]string
		var group sync.WaitGroup
		for at, n := range nodes {
			one := *n
			one.Want = kairos.Request{Label: fmt.Sprint("DATA", i)}
			group.Go(func() {
				for end := time.Now().Add(20 * time.Second); got[at] == "" && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
					if r, err := one.Attest(); err == nil {
						got[at] = r.Passphrase
					}
				}
			})
		}

		group.Wait()
		if got[0] == "" || got[0] != got[1] {
			t.Errorf("two servers asked at once made %q and %q", got[0], got[1])
		}
	}
}

// writtenBack: a machine that the operator approves by command becomes a
// SealedVolume, and its passphrase a Secret, from which Kairos' operator
// would serve it; from then on the cluster's word counts.
func writtenBack(t *testing.T, admin *kube.Client, data string, nodes []*kairostest.Node) {
	t.Helper()
	applyManifest(t, admin, "write-back.yaml")
	tpm, err := kairostest.NewSoft()
	if err != nil {
		t.Fatal(err)
	}

	var mine []*kairostest.Node
	for _, n := range nodes {
		one := *n
		one.TPM = tpm
		mine = append(mine, &one)
	}

	mine[0].Attest() // pending
	h := home.Home{Location: config.Location{Data: data}}
	if err := callAt(context.Background(), h, "POST", "/v1/kairos/approve", url.Values{"hash": {tpm.Hash()}}, nil, new(kairoskeeper.Node)); err != nil {
		t.Fatal(err)
	}

	first, err := mine[0].Attest()
	if err != nil || len(first.Passphrase) != 44 {
		t.Fatalf("Attest = %+v, %v, want a passphrase that was made", first, err)
	}

	name := "tofu-" + tpm.Hash()[:8]
	var volume struct {
		Spec struct {
			TPMHash    string
			Partitions []struct{ Label string }
		}
	}

	appears(t, admin, pathOf("SealedVolume", "keys")+"/"+name, &volume)
	if volume.Spec.TPMHash != tpm.Hash() || len(volume.Spec.Partitions) != 1 || volume.Spec.Partitions[0].Label != "COS_PERSISTENT" {
		t.Errorf("the SealedVolume is %+v", volume)
	}
	var written struct{ Data map[string][]byte }
	appears(t, admin, "/api/v1/namespaces/keys/secrets/"+name+"-cos-persistent", &written)
	if got := string(written.Data["passphrase"]); got != first.Passphrase {
		t.Errorf("the Secret has %q, and the machine got %q", got, first.Passphrase)
	}

	until(t, mine, first.Passphrase, "")
	if err := admin.Do(context.Background(), http.MethodDelete, pathOf("SealedVolume", "keys")+"/"+name, nil, nil, nil); err != nil {
		t.Fatal(err)
	}

	until(t, mine, "", "TPM is quarantined")
}

// appears waits for an object.
func appears(t *testing.T, c *kube.Client, path string, into any) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := c.Do(context.Background(), http.MethodGet, path, nil, nil, into)
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v", path, err)
		}
	}
}

func sealedVolume(name, hash string, partition map[string]any) map[string]any {
	return map[string]any{
		"apiVersion": "keyserver.kairos.io/v1alpha1", "kind": "SealedVolume", "metadata": map[string]any{"name": name, "namespace": "keys"},
		"spec": map[string]any{"TPMHash": hash, "partitions": []any{partition}},
	}
}

func post(t testing.TB, c *kube.Client, path string, object any) {
	t.Helper()
	if err := c.Do(context.Background(), http.MethodPost, path, nil, object, nil); err != nil {
		t.Fatal(err)
	}
}

// serveAs runs this test's program as a server.
func serveAs(t testing.TB, h home.Home, flags ...string) (*exec.Cmd, string) {
	t.Helper()
	c, address, err := serveWith(h, flags...)
	if err != nil {
		t.Fatal(err)
	}
	return c, address
}

// until waits until both servers answer so.
func until(t *testing.T, nodes []*kairostest.Node, passphrase, refusal string) {
	t.Helper()
	for i, n := range nodes {
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			r, err := n.Attest()
			if err == nil && r.Passphrase == passphrase && strings.Contains(r.Error, refusal) && (refusal != "") == (r.Error != "") {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("server %d answers %+v, %v; want passphrase %q, refusal %q", i, r, err, passphrase, refusal)
			}
		}
	}
}
