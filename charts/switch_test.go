package charts

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	sealedVolumes = "/apis/keyserver.kairos.io/v1alpha1/namespaces/default/sealedvolumes"
	secrets       = "/api/v1/namespaces/default/secrets"
	services      = "/api/v1/namespaces/default/services"
)

// A switched cluster is one that follows the page.
type switched struct {
	*cluster
	t   *testing.T
	dir string // where its commands are called
}

// TestKairosSwitch: a cluster with the objects of Kairos' challenger in
// default, at the node port 30000, switches and goes back by the commands of
// docs/kairos.md; the machines are served by the same documents after.
//
// compatible: Kairos, Talos, Kubernetes | kairos-challenger's chart 0.6.0 | switches to latchkey's chart and back
func TestKairosSwitch(t *testing.T) {
	c := &switched{newCluster(t), t, t.TempDir()}
	there, back, values := page(t)
	c.file("values.yaml", values)
	c.file("old.yaml", "service: {challenger: {type: NodePort, nodePort: 30000}}\n")
	machines := c.kairos()
	c.run("helm install kairos-challenger kairos/kairos-challenger --version 0.6.0 --namespace default --values old.yaml")
	before := c.objects()

	// The other way round fails as the page says, and changes nothing.
	if err := c.try("helm install latchkey charts/latchkey --namespace default --values values.yaml"); err == nil || !strings.Contains(err.Error(), "30000") {
		t.Errorf("a second Service at the node port 30000: %v", err)
	}
	c.run("helm uninstall latchkey --namespace default")

	for _, line := range there {
		c.run(line)
	}
	if diff := cmp.Diff(before, c.objects()); diff != "" {
		t.Errorf("Kairos' objects after the switch (-before +after):\n%s", diff)
	}
	if port := at(c.service("latchkey-kms"), "spec", "ports", 0, "nodePort"); port != 30000.0 {
		t.Errorf("the new Service has the node port %v", port)
	}
	stop, address := c.serve()
	made := machines.served(t, address)
	c.await(secrets+"/machine-c-cos-persistent", made)
	stop()

	for _, line := range back {
		c.run(line)
	}
	if port := at(c.service("kairos-challenger-escrow-service"), "spec", "ports", 0, "nodePort"); port != 30000.0 {
		t.Errorf("Kairos' Service has the node port %v", port)
	}
	after := c.objects()
	delete(after, "machine-c-cos-persistent") // for Kairos' challenger
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("Kairos' objects after all (-before +after):\n%s", diff)
	}
}

// page are the commands of docs/kairos.md, there and back, and its values.
func page(t *testing.T) (there, back []string, values string) {
	t.Helper()
	text, err := os.ReadFile("../docs/kairos.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Switching a cluster from Kairos' challenger\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var blocks []string
	for i, part := range strings.Split(section, "\n```") {
		if i%2 == 1 {
			_, body, _ := strings.Cut(part, "\n")
			blocks = append(blocks, body)
		}
	}
	if len(blocks) != 3 {
		t.Fatalf("the section has %d blocks, want values, the commands there, and back", len(blocks))
	}
	return strings.Split(blocks[1], "\n"), strings.Split(blocks[2], "\n"), blocks[0]
}

func (c *switched) file(name, text string) string {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return path
}

func (c *switched) run(line string) {
	c.t.Helper()
	if err := c.try(line); err != nil {
		c.t.Fatalf("%s: %v", line, err)
	}
}

// try calls a command of the page: Helm itself, with the charts as they are
// called here, and what the page wants of kubectl.
func (c *switched) try(line string) error {
	c.t.Helper()
	line, to, redirected := strings.Cut(line, " > ")
	words := strings.Fields(line)
	var out string
	var err error
	switch {
	case words[0] == "helm":
		out, err = helm(c.t, append(c.helmWords(words[1:]), "--kubeconfig", c.config)...)
	case words[0] == "openssl":
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Dir = c.dir
		err = cmd.Run()
	case line == "kubectl get sealedvolumes,secrets --namespace default --output yaml":
		out = fmt.Sprint(c.objects())
	case line == "kubectl create secret generic latchkey-kms-wrapping --namespace default --from-file=wrapping.key":
		key, fault := os.ReadFile(filepath.Join(c.dir, "wrapping.key"))
		if fault != nil {
			return fault
		}
		c.Must(c.t, "POST", secrets, object{"apiVersion": "v1", "kind": "Secret", "metadata": object{"name": "latchkey-kms-wrapping"}, "data": object{"wrapping.key": key}}, nil)
	default:
		c.t.Fatalf("the page has a command that this test does not know: %s", line)
	}
	if redirected && err == nil {
		c.file(to, out)
	}
	return err
}

func (c *switched) helmWords(words []string) (all []string) {
	for i, w := range words {
		switch {
		case w == "charts/latchkey":
			w = "latchkey"
		case w == "kairos/kairos-challenger":
			w = "testdata/kairos-challenger"
		case strings.HasSuffix(w, ".yaml"):
			w = filepath.Join(c.dir, w)
		case w == "--version" || i > 0 && words[i-1] == "--version": // of a repository
			continue
		}
		all = append(all, w)
	}
	return all
}

// objects are the SealedVolumes and Secrets of Kairos in default, without what
// the API server adds.
func (c *switched) objects() map[string]any {
	c.t.Helper()
	all := map[string]any{}
	for path, field := range map[string]string{sealedVolumes: "spec", secrets: "data"} {
		var list struct{ Items []object }
		c.Must(c.t, "GET", path, nil, &list)
		for _, o := range list.Items {
			name := at(o, "metadata", "name").(string)
			if kind, _ := o["type"].(string); !strings.HasPrefix(name, "latchkey") && (path == sealedVolumes || kind == "Opaque") {
				all[name] = o[field]
			}
		}
	}
	return all
}

func (c *switched) service(name string) object {
	c.t.Helper()
	var o object
	c.Must(c.t, "GET", services+"/"+name, nil, &o)
	return o
}

// await waits for the Secret with a passphrase.
func (c *switched) await(path, passphrase string) {
	c.t.Helper()
	want := base64.StdEncoding.EncodeToString([]byte(passphrase))
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		var o object
		status, body, err := c.Do("admin-token", "GET", path, nil, &o)
		if err == nil && status == http.StatusOK && at(o, "data", "passphrase") == want {
			return
		}
		if time.Now().After(end) {
			c.t.Fatalf("%s: %d %s %v, want the passphrase that the machine got", path, status, body, err)
		}
	}
}
