package initramfs_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/initramfs"
	"latchkey/internal/plan"
)

// talosConfig is what Talos' pages have, with documents that are not about
// encryption.
const talosConfig = `version: v1alpha1
machine: {type: worker, install: {disk: /dev/sda}}
---
apiVersion: v1alpha1
kind: UserVolumeConfig
name: data
provisioning: {maxSize: 10GiB}
encryption:
  provider: luks2
  keys:
    - static: {passphrase: "open sesame"}
      slot: 1
      lockToSTATE: true
    - nodeID: {}
      slot: 0
---
apiVersion: v1alpha1
kind: VolumeConfig
name: EPHEMERAL
encryption:
  provider: luks2
  cipher: aes-xts-plain64
  keys:
    - slot: 0
      kms: {endpoint: "grpc://192.0.2.8:4050"}
      lockToState: true
    - slot: 1
      kms: {endpoint: "192.0.2.9:4050"}
---
apiVersion: v1alpha1
kind: VolumeConfig
name: STATE
encryption:
  provider: luks2
  keys:
    - slot: 0
      tpm: {options: {pcrs: [7]}, checkSecurebootStatusOnEnroll: true}
---
apiVersion: v1alpha1
kind: VolumeConfig
name: IMAGECACHE
provisioning: {maxSize: 10GiB}
---
`

// headers are those of the machine that the image is built on.
var headers = map[string]initramfs.TalosHeader{
	"STATE":     {UUID: "5ca1ab1e-0000-4000-8000-00000000d150", Digest: strings.Repeat("01", 32)},
	"EPHEMERAL": {UUID: "5ca1ab1e-0000-4000-8000-00000000d151", Digest: strings.Repeat("02", 32)},
	"u-data":    {UUID: "5ca1ab1e-0000-4000-8000-00000000d152", Digest: strings.Repeat("03", 32)},
}

func find(label string) (h initramfs.TalosHeader, err error) {
	h, ok := headers[label]
	if !ok {
		err = errors.New("no such partition")
	}
	return h, err
}

func talosPlan(t *testing.T, own, talos string) (*initramfs.Config, *plan.Plan, error) {
	t.Helper()
	c, err := initramfs.ReadConfig("latchkey.yaml", strings.NewReader(own))
	if err != nil {
		t.Fatal(err)
	}
	volumes, err := initramfs.ReadTalos("till/worker.yaml", strings.NewReader(talos))
	if err == nil {
		err = c.AddTalos("till/worker.yaml", volumes, find)
	}
	if err != nil {
		return nil, nil, err
	}
	p, err := c.Plan()
	return c, p, err
}

// TestTalosFile: the volumes of a configuration of Talos, STATE first, each
// pinned by its header.
func TestTalosFile(t *testing.T) {
	const kms = "trust: {kms: [\"lk1:IACMx2/hiNfc+4150nkCg2G5sY+MZdXNO3jt6GLQ+T0=\"]}\n"
	_, p, err := talosPlan(t, kms+"volumes: [{uuid: 11111111-2222-3333-4444-555555555555, name: root}, {name: EPHEMERAL, options: [discard], nofail: true, sources: [talos-kms: {wait: 1m}, prompt]}]\n", talosConfig)
	if err != nil {
		t.Fatal(err)
	}
	want := []plan.Volume{
		{UUID: headers["STATE"].UUID, Name: "STATE", Digest: headers["STATE"].Digest, Sources: []string{"talos-tpm2"}},
		{UUID: headers["u-data"].UUID, Name: "u-data", Digest: headers["u-data"].Digest, Sources: []string{"talos-node-id", "key-file"}, Talos: "u-data", LockedTo: "STATE"},
		{UUID: headers["EPHEMERAL"].UUID, Name: "EPHEMERAL", Digest: headers["EPHEMERAL"].Digest, Sources: []string{"talos-kms", "prompt"}, LockedTo: "STATE", NoFail: true, Options: []string{"discard"}},
		{UUID: "11111111-2222-3333-4444-555555555555", Name: "root", Sources: []string{"kms"}},
	}
	if diff := cmp.Diff(want, p.Volumes); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(plan.Talos{KMS: []string{"http://192.0.2.8:4050", "http://192.0.2.9:4050"}, Wait: 60e9}, p.Talos); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if f, ok := p.KeyFile("key-file"); !ok || f.String() != "the key file worker.yaml, u-data, slot 1 in the image" {
		t.Errorf("key file %v", f)
	}
}

// TestTalosPassphrase: a static passphrase is a file in the image.
func TestTalosPassphrase(t *testing.T) {
	tr := newTree(t)
	c, _, err := talosPlan(t, "modules: {set: none}\n", "kind: VolumeConfig\nname: STATE\nencryption: {provider: luks2, keys: [{slot: 0, static: {passphrase: open sesame}}]}\n")
	if err != nil {
		t.Fatal(err)
	}
	_, image, err := tr.buildConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := initramfs.List(image)
	if err != nil {
		t.Fatal(err)
	}
	e, err := initramfs.Unpacked(entries).File("/keys/key-file")
	if err != nil || e == nil || string(e.Data) != "open sesame" || e.Mode.Perm() != 0o400 {
		t.Errorf("%v, %v", e, err)
	}
}

// TestTalosFileRefused: what is wrong in a configuration of Talos is named,
// with the document's line.
func TestTalosFileRefused(t *testing.T) {
	volume := func(name, keys string) string {
		return "kind: VolumeConfig\nname: " + name + "\nencryption: {provider: luks2, keys: [" + keys + "]}\n"
	}
	state := volume("STATE", "{slot: 0, tpm: {}}")
	for _, row := range []struct{ name, own, talos, says string }{
		{"no volume", "debug: true", "kind: VolumeConfig\nname: STATE\n", "till/worker.yaml: no VolumeConfig or UserVolumeConfig has encryption"},
		{"no YAML", "debug: true", "\t", "till/worker.yaml: yaml"},
		{"keys that are none", "debug: true", "kind: VolumeConfig\nname: STATE\nencryption: {keys: x}\n", "till/worker.yaml:1: "},
		{"huge", "debug: true", strings.Repeat("#", 2<<20), "till/worker.yaml: it has more than"},
		{"no name", "debug: true", volume(`""`, "{slot: 0, tpm: {}}"), "this VolumeConfig has no name"},
		{"LUKS1", "debug: true", strings.Replace(state, "luks2", "luks1", 1), `encryption.provider is "luks1", want luks2`},
		{"no keys", "debug: true", volume("STATE", ""), "encryption.keys is empty"},
		{"a key of another kind", "debug: true", volume("STATE", "{slot: 3, yubikey: {}}"), "the key of slot 3 is not one of static, nodeID, kms and tpm"},
		{"a key of two kinds", "debug: true", volume("STATE", "{slot: 0, tpm: {}, nodeID: {}}"), "the key of slot 0 is not one of"},
		{"a slot twice", "debug: true", volume("STATE", "{slot: 0, tpm: {}}, {slot: 0, nodeID: {}}"), "two keys have slot 0"},
		{"STATE locked to itself", "debug: true", volume("STATE", "{slot: 0, tpm: {}, lockToState: true}"), "cannot be locked to itself"},
		{"an empty passphrase", "debug: true", volume("STATE", "{slot: 0, static: {}}"), "has no passphrase"},
		{"a volume twice", "debug: true", state + "---\n" + state, "till/worker.yaml:5: volume STATE is there twice"},
		{"locked to a STATE that is not encrypted", "debug: true", volume("EPHEMERAL", "{slot: 0, tpm: {}, lockToState: true}"), `lock-to-state is "STATE", want the name of another volume`},
		{"a volume that is not on this machine", "debug: true", volume("IMAGECACHE", "{slot: 0, tpm: {}}"), "till/worker.yaml: volume IMAGECACHE: no such partition (or write it into latchkey.yaml: volumes: [{name: IMAGECACHE, uuid: …, digest: …}])"},
		{"another volume on this machine", "volumes: [{name: STATE, uuid: 11111111-2222-3333-4444-555555555555}]", state, "has the UUID 5ca1ab1e-0000-4000-8000-00000000d150, and in latchkey.yaml 11111111"},
		{"a volume that latchkey.yaml knows", "volumes: [{name: STATE, uuid: 11111111-2222-3333-4444-555555555555, digest: " + strings.Repeat("04", 32) + "}]", state, ""},
		{"a KMS over TLS", "debug: true", volume("STATE", "{slot: 0, kms: {endpoint: 'https://kms.example'}}"), "nothing says how a KMS at https:// is known"},
		{"a KMS over TLS that latchkey.yaml knows", "volumes: [{name: STATE, sources: [talos-kms: {pin: sha256//" + strings.Repeat("A", 43) + "=}]}]", volume("STATE", "{slot: 0, kms: {endpoint: 'https://kms.example'}}"), ""},
		{"an endpoint that is none", "debug: true", volume("STATE", "{slot: 0, kms: {endpoint: 'ftp://kms'}}"), "till/worker.yaml: volume STATE: talos-kms.url[0] is"},
	} {
		_, _, err := talosPlan(t, row.own+"\n", row.talos)
		if (err == nil) != (row.says == "") || err != nil && !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: %v, want %q", row.name, err, row.says)
		}
	}
}
