package boot_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/boot/boottest"
)

// TestExtra: the real root gets what the image's signature covers and the
// credentials that the plan names. The rest of what lies on the boot
// partition is named on the console and used by nobody.
func TestExtra(t *testing.T) {
	const cred, global = "/.extra/credentials/", "/.extra/global_credentials/"
	for _, row := range []struct {
		name    string
		allowed []string
		extra   map[string]string
		passed  map[string]string // in /run
		said    []string
	}{
		{"nothing", []string{"*"}, nil, nil, nil},
		{
			"what is in the image", nil,
			map[string]string{"/.extra/tpm2-pcr-signature.json": "{}", "/.extra/tpm2-pcr-public-key.pem": "PEM", "/.extra/os-release": "ID=x", "/.extra/profile": "TITLE=x"},
			map[string]string{
				"/run/systemd/tpm2-pcr-signature.json": "{}", "/run/systemd/tpm2-pcr-public-key.pem": "PEM",
				"/run/systemd/stub/os-release": "ID=x", "/run/systemd/stub/profile": "TITLE=x",
			},
			nil,
		},
		{
			"credentials, some of them allowed",
			[]string{"wireguard.key", "network.*"},
			map[string]string{cred + "wireguard.key.cred": "1", cred + "network.wan.CRED": "2", cred + "passwd.cred": "3", global + "wireguard.key.cred": "4", global + "network.lan.cred": "5"},
			map[string]string{"/run/credstore.encrypted/wireguard.key": "1", "/run/credstore.encrypted/network.wan": "2", "/run/credstore.encrypted/network.lan": "5"},
			[]string{
				"credentials of the boot partition, passed on to the real root: network.wan, wireguard.key, network.lan",
				"credentials of the boot partition, not used (stub.credentials in latchkey.yaml allows them by name): passwd.cred, wireguard.key.cred",
			},
		},
		{
			"no file's name leads out of the folder",
			[]string{"*"},
			map[string]string{cred + "...cred": "1", cred + ".cred": "2", cred + "a:b.cred": "3", cred + "x.raw": "4"},
			nil,
			[]string{"not used (stub.credentials in latchkey.yaml allows them by name): ...cred, .cred, a:b.cred, x.raw"},
		},
		{
			"extensions",
			[]string{"*"},
			map[string]string{"/.extra/sysext/a.raw": "1", "/.extra/global_confext/b.raw": "2"},
			nil,
			[]string{"extensions of the boot partition, not used (the real root reads its own): a.raw, b.raw"},
		},
		{
			"too large",
			[]string{"*"},
			map[string]string{cred + "big.cred": string(bytes.Repeat([]byte{1}, 1<<20+1)), cred + "small.cred": "1"},
			map[string]string{"/run/credstore.encrypted/small": "1"},
			[]string{"credential big.cred of the boot partition: it has 1048577 bytes, more than 1048576: not used", "passed on to the real root: small"},
		},
		{
			"many", nil,
			map[string]string{cred + "a.cred": "", cred + "b.cred": "", cred + "c.cred": "", cred + "d.cred": "", cred + "e.cred": "", cred + "f.cred": "", cred + "g.cred": "", cred + "h.cred": "", cred + "i.cred": ""},
			nil,
			[]string{"a.cred, b.cred, c.cred, d.cred, e.cred, f.cred, g.cred, h.cred and 1 more"},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := boottest.New("kms")
				defer m.End()
				m.Plan.Stub.Credentials = row.allowed
				m.Extra = map[string][]byte{}
				for path, text := range row.extra {
					m.Extra[path] = []byte(text)
				}
				if o, ok := m.Boot(time.Minute); !ok || o.Root == "" {
					t.Fatalf("no boot:\n%s", strings.Join(m.Log(), "\n"))
				}

				passed := 0
				for _, line := range m.Log() {
					if strings.Contains(line, "write /run/systemd/") || strings.Contains(line, "write /run/credstore") {
						passed++
					}
				}
				if passed != len(row.passed) {
					t.Errorf("%d files were passed on, want %d:\n%s", passed, len(row.passed), strings.Join(m.Log(), "\n"))
				}
				for path, text := range row.passed {
					if got := string(m.File(path)); got != text {
						t.Errorf("%s is %q, want %q", path, got, text)
					}
				}

				said := slices.DeleteFunc(m.Log(), func(line string) bool { return !strings.Contains(line, "of the boot partition") })
				if len(said) != len(row.said) {
					t.Errorf("said %q, want %q", said, row.said)
				}
				for _, want := range row.said {
					if !slices.ContainsFunc(said, func(line string) bool { return strings.HasSuffix(line, want) }) {
						t.Errorf("said %q, want %q", said, want)
					}
				}
			})
		})
	}
}

// TestForeignWords: PID 1 and the worker take hints from the image's own
// command line, and a person is told what somebody added.
func TestForeignWords(t *testing.T) {
	for addons, want := range map[bool]string{false: "/sbin/init", true: "/evil"} {
		t.Run(fmt.Sprintf("addons=%v", addons), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := boottest.New("kms")
				defer m.End()
				m.Plan.Stub.Addons = addons
				m.Cmdline = "ro init=/evil"
				m.Extra = map[string][]byte{"/image-cmdline": []byte("ro")}
				o, ok := m.Boot(time.Minute)
				if !ok || o.Root != want {
					t.Errorf("the root's init is %q, want %q:\n%s", o.Root, want, strings.Join(m.Log(), "\n"))
				}
				if log := strings.Join(m.Log(), "\n"); !strings.Contains(log, `"init=/evil" is not in this image`) {
					t.Errorf("nobody is told of the word:\n%s", log)
				}
			})
		})
	}
}
