package initramfs_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"latchkey/initramfs"
	"latchkey/internal/cloudconfig"
	"latchkey/internal/mapping"
)

// The partitions of cloud-configs become volumes: by their headers where this
// machine has them, and else by the UUID that Kairos makes of the label.
func TestAddKairos(t *testing.T) {
	yes, digest := true, strings.Repeat("ab", 32)
	there := initramfs.TalosHeader{UUID: "22222222-2222-3333-4444-555555555555", Digest: digest}
	for _, row := range []struct {
		name   string
		config cloudconfig.Config
		here   bool // this machine has the partitions
		err    string
	}{
		{"of this machine", cloudconfig.Config{Server: "http://kms.local", MDNS: true, Legacy: &yes, Encrypted: []string{"COS_PERSISTENT"}}, true, ""},
		{"of the TPM", cloudconfig.Config{Encrypted: []string{"COS_PERSISTENT"}}, false, ""},
		{"of another machine, from whoever answers", cloudconfig.Config{Server: "http://kms.local", Encrypted: []string{"COS_PERSISTENT"}}, false, "kairos over http:// takes a passphrase from whoever answers"},
		{"nothing", cloudconfig.Config{Server: "http://kms.local"}, true, "DIR: no cloud-config there has install.encrypted_partitions"},
		{"over TLS, and nothing is known of it", cloudconfig.Config{Server: "https://kms.local", Encrypted: []string{"a"}}, true, "ca: [FILE] or pin:"},
		{"a certificate that is none", cloudconfig.Config{Server: "https://kms.local", Certificate: "-----BEGIN CERTIFICATE-----", Encrypted: []string{"a"}}, true, "DIR: kcrypt.challenger: ca[0]: "},
		{"a header that cannot be read", cloudconfig.Config{Encrypted: []string{"broken"}}, true, "DIR: partition broken: damaged"},
	} {
		c, err := initramfs.ReadConfig("latchkey.yaml", strings.NewReader(config))
		if err != nil {
			t.Fatal(err)
		}
		err = c.AddKairos("DIR", row.config, func(label string) (initramfs.TalosHeader, error) {
			switch {
			case !row.here:
				return initramfs.TalosHeader{}, fs.ErrNotExist
			case label == "broken":
				return initramfs.TalosHeader{}, errors.New("damaged")
			}
			return there, nil
		})
		if err != nil {
			if row.err == "" || !strings.Contains(err.Error(), row.err) {
				t.Errorf("%s: AddKairos = %v, want %q", row.name, err, row.err)
			}
			continue
		}
		p, err := c.Plan()
		if row.err != "" {
			if err == nil || !strings.Contains(err.Error(), row.err) {
				t.Errorf("%s: Plan = %v, want %q", row.name, err, row.err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		v := p.Volumes[len(p.Volumes)-1]
		want, pinned := mapping.KairosUUID("COS_PERSISTENT"), ""
		if row.here {
			want, pinned = there.UUID, digest
		}
		if v.UUID != want || v.Digest != pinned || v.Label != "COS_PERSISTENT" || v.Sources[0] != "kairos" || p.Kairos.Server != row.config.Server || p.Kairos.Legacy != (row.config.Legacy != nil) || (p.Kairos.NVIndex == 0x1500000) != (row.config.Server == "") {
			t.Errorf("%s: %+v of %+v, want UUID %s and digest %q", row.name, v, p.Kairos, want, pinned)
		}
	}
}

// A label that the file has stays as it is there.
func TestAddKairosTwice(t *testing.T) {
	c, err := initramfs.ReadConfig("latchkey.yaml", strings.NewReader(strings.Replace(config, "555555555555}", "555555555555, label: COS_PERSISTENT}", 1)))
	if err != nil {
		t.Fatal(err)
	}
	n := len(c.Volumes)
	if err := c.AddKairos("DIR", cloudconfig.Config{Encrypted: []string{"COS_PERSISTENT"}}, nil); err != nil || len(c.Volumes) != n {
		t.Errorf("AddKairos = %v and %d volumes, want %d as before", err, len(c.Volumes), n)
	}
}
