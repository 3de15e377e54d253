package initramfs_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"latchkey/initramfs"
	"latchkey/internal/mapping"
	"latchkey/internal/plan"
)

// withSources is a configuration whose volume has these sources.
func withSources(sources string) string {
	return strings.Replace(config, "555555555555}", "555555555555, sources: ["+sources+"]}", 1)
}

// TestSources: short words for the common, a mapping for the rest, and each
// mistake is named with its line or field.
func TestSources(t *testing.T) {
	stick := plan.KeyFile{Name: "key-file", Device: "LABEL=KEYS", Path: "shop.key"}
	for _, row := range []struct {
		sources string
		want    []string
		files   []plan.KeyFile
		err     string // "" is none
	}{
		{"", nil, nil, "latchkey.yaml:3: volumes[0].sources: an empty list opens nothing: name a source, or leave the key out for kms"},
		{"kms, prompt", []string{"kms", "prompt"}, nil, ""},
		{"kms, key-file: {device: LABEL=KEYS, path: shop.key}, prompt", []string{"kms", "key-file", "prompt"}, []plan.KeyFile{stick}, ""},
		{
			"key-file: {device: PARTUUID=1234-01, offset: 512, size: 64, wait: 30s}, key-file: {path: /root.key}",
			[]string{"key-file", "key-file-2"},
			[]plan.KeyFile{{Name: "key-file", Device: "PARTUUID=1234-01", Offset: 512, Size: 64, Wait: 30e9}, {Name: "key-file-2", Path: "/root.key"}},
			"",
		},
		{"clevis: {tang: [" + strings.Repeat("A", 43) + "], wait: 1m}, prompt", []string{"clevis", "prompt"}, nil, ""},
		{"clevis", nil, nil, "latchkey.yaml:3: volumes[0].sources[0]: clevis needs to know whom to trust"},
		{"clevis: {url: http://tang.local}", nil, nil, `latchkey.yaml:3: unknown key "url"; known here: tang, sealed, ca, pin, wait`},
		{"key-file", nil, nil, "latchkey.yaml:3: volumes[0].sources[0]: key-file needs to know which file"},
		{"tang", nil, nil, `latchkey.yaml:3: volumes[0].sources[0]: "tang" is no source; known here: kms, push, prompt, key-file, clevis,`},
		{"{kms: {}}", nil, nil, "latchkey.yaml:3: volumes[0].sources[0]: kms takes no settings: write - kms"},
		{"prompt: ", nil, nil, "latchkey.yaml:3: volumes[0].sources[0]: prompt takes no settings: write - prompt"},
		{"keyfile", nil, nil, `latchkey.yaml:3: volumes[0].sources[0]: "keyfile" is no source; did you mean "key-file"?`},
		{"keyfile: {path: x}", nil, nil, `latchkey.yaml:3: volumes[0].sources[0]: "keyfile" is no source; did you mean "key-file"?`},
		{"promt: {}", nil, nil, `latchkey.yaml:3: volumes[0].sources[0]: "promt" is no source; did you mean "prompt"?`},
		{"usb", nil, nil, `"usb" is no source`},
		{"kms, systemd-tpm2: {sealed: [" + strings.Repeat("AB", 32) + "]}", []string{"kms", "systemd-tpm2"}, nil, ""},
		{"clevis: {sealed: " + strings.Repeat("AB", 32) + "}", []string{"clevis"}, nil, ""},
		{"talos-tpm2: {sealed: " + strings.Repeat("AB", 32) + "}", []string{"talos-tpm2"}, nil, ""},
		{"key-file: {device: LABEL=KEYS, path: x, wait: 1ns}", nil, nil, "latchkey.yaml:3: key-file: wait is 1ns, want 1s or more; 0s is for ever"},
		{"clevis: {sealed: " + strings.Repeat("ab", 32) + ", wait: 5ms}", nil, nil, "latchkey.yaml:3: clevis: wait is 5ms, want 1s or more"},
		{"talos-kms", nil, nil, "talos-kms needs to know whom to ask"},
		{"talos-node-id", nil, nil, "talos-node-id needs to know what Talos calls the volume"},
		{"talos-kms: {url: 'grpc://kms.local'}", nil, nil, "latchkey.yaml:3: volumes[0].sources[0].talos-kms.url[0] is \"grpc://kms.local\", want a port"},
		{"talos-kms: {url: 'ftp://kms.local'}", nil, nil, "want https:// or grpc://"},
		{"talos-kms: {url: 'kms.local:4050'}", nil, nil, "latchkey.yaml:3: volumes[0]: talos-kms needs to know the volume"},
		{"talos-kms: {url: 'https://kms.local', sealed: " + strings.Repeat("ab", 32) + ", ca: none.pem}", nil, nil, "volumes[0].sources[0].talos-kms.ca[0]: open none.pem"},
		{"talos-tpm2: {sealed: x}", nil, nil, "latchkey.yaml:3: talos-tpm2: sealed:"},
		{"key-file: {device: LABEL=KEYS, file: x}", nil, nil, `latchkey.yaml:3: unknown key "file"; did you mean`},
		{"{}", nil, nil, "latchkey.yaml:3: volumes[0].sources[0]: want kms, push, prompt, or a mapping with the one key key-file, clevis, systemd-tpm2, kairos, talos-kms, talos-tpm2 or talos-node-id"},
		{"{key-file: {path: x}, clevis: {tang: []}}", nil, nil, "latchkey.yaml:3: volumes[0].sources[0]: want kms, push, prompt, or a mapping"},
		{"[kms]", nil, nil, "latchkey.yaml:3: volumes[0].sources[0]: expected keys with values (key: value), found a list"},
		{"key-file: {}", nil, nil, "latchkey.yaml:3: key-file: path is missing"},
		{"kms, systemd-tpm2: {sealed: [" + strings.Repeat("ab", 32) + "]}", []string{"kms", "systemd-tpm2"}, nil, ""},
		{"systemd-tpm2", nil, nil, "needs to know the volume"},
		{"systemd-tpm2: {sealed: " + strings.Repeat("ab", 32) + ", pin: true}, prompt", []string{"systemd-tpm2", "prompt"}, nil, ""},
		{"prompt, systemd-tpm2: {sealed: " + strings.Repeat("ab", 32) + ", pin: true}", nil, nil, "latchkey.yaml:3: volumes[0]: sources: prompt asks at the console without end"},
		{"talos-tpm2: {sealed: " + strings.Repeat("ab", 32) + ", pin: true}", nil, nil, `unknown key "pin"`},
		{"systemd-tpm2: {pcrs: [7]}", nil, nil, `unknown key "pcrs"`},
		{"kairos: {server: http://192.0.2.5:7741, any-server: true, wait: 1m}, prompt", []string{"kairos", "prompt"}, nil, ""},
		{"kairos: {nv-index: 0x1500000}", []string{"kairos"}, nil, ""},
		{"kairos", nil, nil, "latchkey.yaml:3: volumes[0].sources[0]: kairos needs to know whom to ask"},
		{"kairos: {server: http://192.0.2.5:7741}", nil, nil, "latchkey.yaml:3: volumes[0]: kairos over http:// takes a passphrase from whoever answers"},
		{"kairos: {server: https://kms.local, ca: [none.pem]}", nil, nil, "latchkey.yaml:3: volumes[0].sources[0].kairos: ca[0]: "},
		{"kairos: {challenger_server: http://kms.local}", nil, nil, `unknown key "challenger_server"`},
		{"{kairos: {}, clevis: {tang: []}}", nil, nil, "latchkey.yaml:3: volumes[0].sources[0]: want kms, push, prompt, or a mapping"},
		{"key-file: {device: /dev/sda1, path: x}", nil, nil, `key-file: device is "/dev/sda1", want LABEL=`},
		{"key-file: {device: SERIAL=x, path: x}", nil, nil, "SERIAL= is not known"},
		{"key-file: {device: LABEL=KEYS}", nil, nil, "size is missing"},
		{"key-file: {device: LABEL=KEYS, path: ../x}", nil, nil, "without ../"},
		{"key-file: {path: x, size: -1}", nil, nil, "must not be negative"},
		{"key-file: {path: x, size: 8388609}", nil, nil, "at most 8388608 bytes"},
		{"key-file: {path: x}, key-file: {path: x}", nil, nil, `sources has "key-file" twice`},
	} {
		c, err := initramfs.ReadConfig("latchkey.yaml", strings.NewReader(withSources(row.sources)))
		var p *plan.Plan
		if err == nil {
			p, err = c.Plan()
		}
		switch {
		case row.err != "":
			if err == nil || !strings.Contains(err.Error(), row.err) {
				t.Errorf("sources [%s]: %v, want %q", row.sources, err, row.err)
			}
		case err != nil:
			t.Errorf("sources [%s]: %v", row.sources, err)
		default:
			if diff := cmp.Diff(row.want, p.Volumes[0].Sources) + cmp.Diff(row.files, p.KeyFiles); diff != "" {
				t.Errorf("sources [%s] (-want +got):\n%s", row.sources, diff)
			}
		}
	}
}

// TestSharedKeyFile: two volumes with one file share it, so it is read once.
func TestSharedKeyFile(t *testing.T) {
	text := strings.Replace(config, "volumes: [{uuid: 11111111-2222-3333-4444-555555555555}]", `volumes:
  - {uuid: 22222222-2222-3333-4444-555555555555, name: data, sources: [key-file: {device: LABEL=KEYS, path: k}]}
  - {uuid: 33333333-2222-3333-4444-555555555555, name: more, sources: [key-file: {device: LABEL=KEYS, path: k}]}`, 1)
	c, err := initramfs.ReadConfig("latchkey.yaml", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if p, err := c.Plan(); err != nil || len(p.KeyFiles) != 1 || p.Volumes[0].Sources[0] != p.Volumes[1].Sources[0] {
		t.Errorf("Plan = %v, %v, want one key file for both", p, err)
	}
}

// TestKairosVolumes: the UUID of a volume that Kairos made is that of its
// label, and all volumes have one server.
func TestKairosVolumes(t *testing.T) {
	const both = `volumes:
  - {label: COS_PERSISTENT, sources: [kairos: {server: http://192.0.2.5:7741, any-server: true}]}
  - {label: COS_OEM, name: oem, uuid: 22222222-2222-3333-4444-555555555555, sources: [kairos: {server: http://192.0.2.5:7741, any-server: ANY}]}`
	text := strings.Replace(config, "volumes: [{uuid: 11111111-2222-3333-4444-555555555555}]", both, 1)
	c, err := initramfs.ReadConfig("latchkey.yaml", strings.NewReader(strings.Replace(text, "ANY", "true", 1)))
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Plan()
	if err != nil || p.Volumes[0].UUID != mapping.KairosUUID("COS_PERSISTENT") || p.Volumes[0].Label != "COS_PERSISTENT" || p.Volumes[1].UUID != "22222222-2222-3333-4444-555555555555" || p.Volumes[1].Label != "COS_OEM" {
		t.Errorf("Plan = %v, %v, want the UUID of COS_PERSISTENT and the other as it stands", p, err)
	}
	if _, err := initramfs.ReadConfig("latchkey.yaml", strings.NewReader(strings.Replace(text, "ANY", "false", 1))); err == nil || !strings.Contains(err.Error(), "two volumes say two things of it") {
		t.Errorf("ReadConfig of two servers = %v, want an error", err)
	}
}

// TestKeyInImage: the image holds what is asked for, and no more; what is
// wrong with the file is said when the image is built.
func TestKeyInImage(t *testing.T) {
	for _, row := range []struct {
		name, content, more string
		mode                os.FileMode
		want, err, warns    string
	}{
		{"all of it", "0123456789\n", "", 0o400, "0123456789\n", "", ""},
		{"a part", "0123456789\n", ", offset: 2, size: 3", 0o400, "234", "", ""},
		{"world readable", "key", "", 0o644, "key", "", "can be read by others (mode 0644): chmod 0400"},
		{"empty", "", "", 0o400, "", "0 bytes", ""},
		{"shorter than the key", "key", ", size: 4", 0o400, "", "it has 3 bytes from byte 0 on, and the key has 4", ""},
		{"missing", "-", "", 0, "", "no such file", ""},
		{"too large", strings.Repeat("x", plan.MaxKeyBytes+1), "", 0o400, "", "want 1 to 8388608", ""},
	} {
		tr := newTree(t)
		file := filepath.Join(tr.dir, "root.key")
		if row.content != "-" {
			if err := os.WriteFile(file, []byte(row.content), row.mode); err != nil {
				t.Fatal(err)
			}
		}
		r, image, err := tr.build(withSources("key-file: {path: " + file + row.more + "}"))
		if row.err != "" {
			if err == nil || !strings.Contains(err.Error(), row.err) || !strings.Contains(err.Error(), "latchkey.yaml:3: key-file: path: reading the key file "+file) {
				t.Errorf("%s: Build = %v, want %s and %q", row.name, err, file, row.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		entries, err := initramfs.List(image)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(entries, func(e initramfs.Entry) bool { return e.Name == "keys/key-file" })
		if i < 0 || string(entries[i].Data) != row.want || entries[i].Mode.Perm() != 0o400 {
			t.Errorf("%s: the image has %+v, want a file with %q", row.name, entries, row.want)
		}
		if warns := strings.Join(r.Warnings, "\n"); !strings.Contains(warns, row.warns) || (row.warns == "") != (warns == "") {
			t.Errorf("%s: warnings %q, want %q", row.name, warns, row.warns)
		}
	}
}

// TestStickDrivers: only an image that reads sticks has what reads them,
// whatever file system the root has.
func TestStickDrivers(t *testing.T) {
	for sources, want := range map[string]bool{"kms": false, "key-file: {device: LABEL=KEYS, path: k}": true} {
		tr := newTree(t)
		for _, f := range []string{"fat/vfat", "fat/fat", "nls/nls_cp437"} {
			tr.add("kernel/fs/"+f+".ko", elf("", false), "")
		}
		index := tr.index(withSources(sources) + "root: {fstype: xfs}\n")
		if got := index.Find("vfat") >= 0 && index.Find("nls_cp437") >= 0; got != want {
			t.Errorf("sources [%s]: drivers of sticks in the image: %t, want %t", sources, got, want)
		}
	}
}

// TestClevisOfVolumes: what one volume may be opened by, all may.
func TestClevisOfVolumes(t *testing.T) {
	a, b, x, y := strings.Repeat("A", 43), strings.Repeat("B", 43), strings.Repeat("0a", 32), strings.Repeat("0b", 32)
	c, err := initramfs.ReadConfig("latchkey.yaml", strings.NewReader(`volumes:
  - {uuid: 5ca1ab1e-0000-4000-8000-00000000d150, name: root, sources: [clevis: {tang: [`+a+`], sealed: [`+x+`], wait: 1m}]}
  - {uuid: 0a1b2c3d-4e5f-4061-8273-94a5b6c7d8e9, name: data, sources: [clevis: {tang: [`+b+`, `+a+`], sealed: [`+y+`, `+x+`], wait: 2m}]}
`))
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Plan()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plan.Clevis{Tang: []string{a, b}, Sealed: []string{x, y}, Wait: 2 * time.Minute}, p.Clevis); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
