package charts

import (
	"bufio"
	"bytes"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"latchkey/kms/server/kairos"
	"latchkey/kms/server/kairos/kairostest"
)

// fleet are machines of Kairos: with a Secret that the document names, with
// one of the default name, with none yet, and one that is quarantined.
type fleet map[string]*kairostest.Soft

// kairos makes what Kairos' challenger has left.
func (c *switched) kairos() fleet {
	c.t.Helper()
	text, err := os.ReadFile("testdata/kairos-crd.yaml")
	if err != nil {
		c.t.Fatal(err)
	}
	var crd object
	if err := yaml.Unmarshal(text, &crd); err != nil {
		c.t.Fatal(err)
	}
	c.Must(c.t, "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd, nil)
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) { // it is served a moment later
		if status, _, err := c.Do("admin-token", "GET", sealedVolumes, nil, nil); err == nil && status == http.StatusOK {
			break
		}
		if time.Now().After(end) {
			c.t.Fatal("SealedVolumes are not served")
		}
	}

	all := fleet{}
	for _, name := range []string{"machine-a", "machine-b", "machine-c", "machine-d"} {
		tpm, err := kairostest.NewSoft()
		if err != nil {
			c.t.Fatal(err)
		}
		all[name] = tpm
		partition := object{"label": "COS_PERSISTENT"}
		if name == "machine-a" {
			partition["secret"] = object{"name": "mine", "path": "key"}
		}
		c.Must(c.t, "POST", sealedVolumes, object{
			"apiVersion": "keyserver.kairos.io/v1alpha1", "kind": "SealedVolume", "metadata": object{"name": name},
			"spec": object{"TPMHash": tpm.Hash(), "partitions": []any{partition}, "quarantined": name == "machine-d"},
		}, nil)
	}
	for name, data := range map[string]object{"mine": {"key": "a's own"}, "machine-b-cos-persistent": {"passphrase": "b's own", "generated_by": "tpm2"}, "machine-d-cos-persistent": {"passphrase": "d's own"}} {
		c.Must(c.t, "POST", secrets, object{"apiVersion": "v1", "kind": "Secret", "metadata": object{"name": name}, "stringData": data}, nil)
	}
	return all
}

// served asks for each machine, and returns the passphrase that was made.
func (f fleet) served(t *testing.T, address string) (made string) {
	t.Helper()
	for name, want := range map[string]string{"machine-a": "a's own", "machine-b": "b's own", "machine-c": "", "machine-d": "TPM is quarantined"} {
		n := &kairostest.Node{URL: address, TPM: f[name], Want: kairos.Request{Label: "COS_PERSISTENT", Name: "vda5"}}
		for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			r, err := n.Attest()
			switch {
			case name == "machine-c" && len(r.Passphrase) == 44:
				made = r.Passphrase
			case name == "machine-d" && strings.Contains(r.Error, want):
			case want != "" && r.Passphrase == want:
			case time.Now().After(end):
				t.Fatalf("%s: %+v, %v; want %q", name, r, err, want)
			default:
				continue // its document comes a moment later
			}
			break
		}
	}
	return made
}

// serve runs what the chart's containers run, with its account's rights.
func (c *switched) serve() (stop func(), address string) {
	c.t.Helper()
	program := filepath.Join(c.dir, "latchkey-kms")
	build := exec.Command("go", "build", "-o", program, "latchkey/cmd/latchkey-kms")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		c.t.Fatalf("building the server: %v\n%s", err, out)
	}
	if err := os.Chmod(filepath.Join(c.dir, "wrapping.key"), 0o400); err != nil { // as the Secret is mounted
		c.t.Fatal(err)
	}
	job, kms := c.get(c.t, "Job", "default", "latchkey-kms-init"), c.get(c.t, "Deployment", "default", "latchkey-kms")
	containers := []any{"spec", "template", "spec", "containers", 0, "args"}
	if out, err := exec.Command(program, c.arguments(at(job, containers...))...).CombinedOutput(); err != nil {
		c.t.Fatalf("the Job that makes keys: %v\n%s", err, out)
	}

	cmd := exec.Command(program, c.arguments(at(kms, containers...))...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	stop = func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if address, ok := strings.CutPrefix(lines.Text(), "listening on "); ok {
			return stop, "http://" + address
		}
	}
	stop()
	c.t.Fatalf("the server did not start:\n%s", log.String())
	return nil, ""
}

// arguments are a container's, for a program that runs beside the API server.
func (c *switched) arguments(of any) (all []string) {
	c.t.Helper()
	var token struct{ Status struct{ Token string } }
	c.Must(c.t, "POST", "/api/v1/namespaces/default/serviceaccounts/latchkey-kms/token", object{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": object{"expirationSeconds": 3600}}, &token)
	file := c.file("token", token.Status.Token)
	replaced := strings.NewReplacer("/data/kms", filepath.Join(c.dir, "kms"), "/wrapping/wrapping.key", filepath.Join(c.dir, "wrapping.key"), "=:7741", "=127.0.0.1:0", "=:9742", "=127.0.0.1:0",
		"kube:default", "kube:default?server="+url.QueryEscape(c.URL)+"&token="+url.QueryEscape(file))
	for _, a := range of.([]any) {
		all = append(all, replaced.Replace(a.(string)))
	}
	return append(all, "--store-ca", c.CA)
}
