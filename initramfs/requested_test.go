package initramfs_test

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"latchkey/initramfs"
)

// TestRequested is issue 8 item 8: what the kernel asks for by
// request_module, which nobody answers in an initramfs, is resolved when the
// image is built: packet sockets, IPv6, ciphers of the processor, and what a
// root with quotas or casefolded names needs.
func TestRequested(t *testing.T) {
	tr := newTree(t)
	for file, alias := range map[string]string{
		"net/packet/af_packet": "net-pf-17", "net/ipv6/ipv6": "net-pf-10", "arch/arm64/crypto/aes-x-blk": "crypto-xts(aes)",
		"fs/quota/quota_v2": "quota-format-2", "fs/unicode/utf8data": "symbol:utf8_data_table", "fs/f2fs/f2fs": "fs-f2fs",
		"crypto/adiantum": "crypto-adiantum", "fs/nls/nls_cp437": "nls_cp437",
	} {
		tr.add("kernel/"+file+".ko", elf("", false), "", alias)
	}
	index := tr.index(config)
	for name, want := range map[string]bool{
		"af_packet": true, "ipv6": true, "aes_x_blk": true, "quota_v2": true, "utf8data": true,
		"adiantum":  false, // a cipher that no volume may have
		"nls_cp437": false, // of file systems that no root may have
	} {
		if got := index.Find(name) >= 0; got != want {
			t.Errorf("%s in the image: %v, want %v", name, got, want)
		}
	}
}

// TestCipherModules: what a volume's plan accepts is in the image and is
// loaded, and where the volume's header is known, nothing else.
func TestCipherModules(t *testing.T) {
	modules := map[string]string{"serpent_generic": "crypto-serpent", "twofish_generic": "crypto-twofish", "adiantum": "crypto-adiantum", "nhpoly1305": "crypto-nhpoly1305", "chacha_generic": "crypto-xchacha12", "essiv": "crypto-essiv"}
	for _, tt := range []struct {
		accept string
		known  []string
		want   []string
	}{
		{"", nil, nil},
		{"strict", nil, nil},
		{"cryptsetup", nil, []string{"adiantum", "chacha_generic", "essiv", "nhpoly1305", "serpent_generic", "twofish_generic"}},
		{"cryptsetup", []string{"aes-xts-plain64"}, nil},
		{"cryptsetup", []string{"aes-xts-plain64", "serpent-xts-plain64"}, []string{"serpent_generic"}},
		{"cryptsetup", []string{"xchacha12,aes-adiantum-plain64"}, []string{"adiantum", "chacha_generic", "nhpoly1305"}},
		{"cryptsetup", []string{"aes-cbc-essiv:sha256"}, []string{"essiv"}},
	} {
		tr := newTree(t)
		for file, alias := range modules {
			tr.add("kernel/crypto/"+file+".ko", elf("", false), "", alias)
		}
		text := config
		if tt.accept != "" {
			text = strings.Replace(config, "555555555555", "555555555555, accept: "+tt.accept, 1)
		}
		c, err := initramfs.ReadConfig("latchkey.yaml", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		r, err := initramfs.Build(&out, initramfs.Options{
			Config: c, Modules: filepath.Join(tr.dir, "modules/6.1"), Init: filepath.Join(tr.dir, "init"), Level: 3, Ciphers: func(string) []string { return tt.known },
		})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for name := range modules {
			if slices.Contains(r.Plan.Modules.Always, name) {
				got = append(got, name)
			}
		}
		if slices.Sort(got); !slices.Equal(got, tt.want) {
			t.Errorf("accept %q, known %q: loaded %q, want %q", tt.accept, tt.known, got, tt.want)
		}
	}
}

// TestWatchdogs: PID 1 pets a watchdog, so its driver must be there, and
// what makes its device.
func TestWatchdogs(t *testing.T) {
	tr := newTree(t)
	for _, f := range []string{"watchdog/iTCO_wdt", "watchdog/i6300esb", "watchdog/sp5100_tco", "watchdog/hpwdt", "watchdog/wdat_wdt", "watchdog/softdog", "mfd/lpc_ich", "i2c/busses/i2c-i801"} {
		tr.add("kernel/drivers/"+f+".ko", elf("", false), "")
	}
	index := tr.index(config)
	for name, want := range map[string]bool{
		"iTCO_wdt": true, "lpc_ich": true, "i2c_i801": true, "i6300esb": true, "sp5100_tco": true, "hpwdt": true, "wdat_wdt": true,
		"softdog": false, // it would take the name of a real one
	} {
		if got := index.Find(name) >= 0; got != want {
			t.Errorf("%s in the image: %v, want %v", name, got, want)
		}
	}
}

// TestParameters is faults/node.md M4 for an image for any machine: what the
// configuration says is in it, and a modprobe.d that is not applied is named.
func TestParameters(t *testing.T) {
	build := func(modules string) (*initramfs.Result, string, error) {
		tr := newTree(t)
		tr.write("etc/a.conf", []byte("options virtio_net napi_tx=0\noptions absent x=1\n"))
		c, err := initramfs.ReadConfig("latchkey.yaml", strings.NewReader(config+modules))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		r, err := initramfs.Build(&out, initramfs.Options{
			Config: c, Modules: filepath.Join(tr.dir, "modules/6.1"), Init: filepath.Join(tr.dir, "init"), Level: 3, Modprobe: []string{filepath.Join(tr.dir, "etc")},
		})
		if err != nil {
			return nil, "", err
		}
		entries, err := initramfs.List(out.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(entries, func(e initramfs.Entry) bool { return e.Name == "modules.idx" })
		return r, string(entries[i].Data), nil
	}

	r, index, err := build("modules: {parameters: [virtio-net.csum=0, virtio_net.gso]}\n")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(index, " csum=0 gso\n") || strings.Contains(index, "napi_tx") {
		t.Errorf("the index has not the parameters of the configuration alone:\n%s", index)
	}
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "any machine (virtio_net)") {
		t.Errorf("warnings: %q, want virtio_net named", r.Warnings)
	}

	for word, want := range map[string]string{
		"csum=0": "want MODULE.PARAM=VALUE", "absent.x=1": "absent is not in the image", "virtio_net.=1": "want MODULE.PARAM=VALUE", "virtio_net.a b": "want MODULE.PARAM=VALUE",
	} {
		if _, _, err := build(`modules: {parameters: ["` + word + `"]}` + "\n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("parameter %q: %v, want an error with %q", word, err, want)
		}
	}
}
