package cryptenroll_test

import (
	"context"
	"encoding/base64"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"

	"latchkey/boot/boottest"
	"latchkey/internal/pcr"
	"latchkey/internal/secret"
	"latchkey/internal/testlan"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source/cryptenroll"
	"latchkey/unlock/tpm"
	"latchkey/unlock/tpm/tpmtest"
)

// inRootWith is inRoot, with the test's folder as /run/systemd as well, where
// systemd looks for signatures.
const inRootWith = `mount -t tmpfs tmpfs "$1/run"; mkdir "$1/run/systemd"; mount --bind "$2" "$1/run/systemd"
` + inRoot

// TestSystemdOpensOurs: the newer Debian's systemd opens what we bound, with
// and without a storage key in NV, and opens it no more in another state.
//
// compatible: TPM | systemd-cryptsetup (Debian 13) | volumes that `latchkey volume enroll-tpm` bound open there
func TestSystemdOpensOurs(t *testing.T) {
	root := testlan.DebianRoot(t)
	key, public := signingKey(t)
	for _, row := range []struct {
		name  string
		kept  *tpm2.TPMTPublic
		r     cryptenroll.Request
		spoil int // the PCR that is extended then; 0: nothing closes it
	}{
		{"any boot, no storage key in NV", nil, cryptenroll.Request{}, 0},
		{"PCR 7, no storage key in NV", nil, cryptenroll.Request{PCRs: []int{7}}, 7},
		{"PCR 7", &tpm2.ECCSRKTemplate, cryptenroll.Request{PCRs: []int{7}}, 7},
		{"PCR 7, an RSA storage key", &tpm2.RSASRKTemplate, cryptenroll.Request{PCRs: []int{7}}, 7},
		{"PCR 11 signed, and 7", &tpm2.ECCSRKTemplate, cryptenroll.Request{PCRs: []int{7}, Signed: []int{11}, Key: public}, 11},
	} {
		t.Run(row.name, func(t *testing.T) {
			sim := tpmtest.Start(t)
			dir := filepath.Dir(sim.Socket)
			if row.kept != nil {
				keepSRK(t, sim.Socket, *row.kept)
			}
			dev, err := tpm.Open(sim.Socket)
			if err != nil {
				t.Fatal(err)
			}
			defer dev.Close()
			extend := func(n int, word string) {
				d := pcr.Measure([]byte(word))
				if err := dev.Extend(t.Context(), n, d.Of); err != nil {
					t.Fatal(err)
				}
			}
			extend(7, "firmware")
			extend(11, pcr.EnterInitrd)
			bound(t, dev, filepath.Join(dir, "a.img"), row.r)
			if err := os.WriteFile(filepath.Join(dir, "tpm2-pcr-signature.json"), signatures(t, key, pcr.EnterInitrd), 0o644); err != nil {
				t.Fatal(err)
			}

			open := func() (string, error) {
				out, err := exec.Command("unshare", "--mount", "sh", "-ec", inRootWith, "sh", root, dir, "systemd-cryptenroll",
					"--unlock-tpm2-device=swtpm:path=/tmp/tpm.sock", "--recovery-key", "/tmp/a.img").CombinedOutput()
				return string(out), err
			}
			if out, err := open(); err != nil || !strings.Contains(out, "enrolled as key slot") {
				t.Fatalf("systemd: %v\n%s", err, out)
			}
			if row.spoil == 0 {
				return
			}
			extend(row.spoil, "something else")
			if out, err := open(); err == nil {
				t.Errorf("systemd opened it in another state\n%s", out)
			}
		})
	}
}

// TestPowerCutsOfEnrolled: what we enroll does not need the key that power
// cuts lock, in a TPM without a storage key in NV.
func TestPowerCutsOfEnrolled(t *testing.T) {
	sim := tpmtest.Start(t)
	dev, err := tpm.Open(sim.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	passphrase, token, err := cryptenroll.Bind(t.Context(), dev, cryptenroll.Request{PCRs: []int{7}})
	if err != nil {
		t.Fatal(err)
	}
	d := boottest.RootDisk()
	d.AddToken(token(0))
	h, err := luks2.Read(d, int64(len(d.Bytes)))
	if err != nil {
		t.Fatal(err)
	}
	v := &unlock.Volume{Name: d.Name, Header: h, Digest: make([]byte, 32)}
	asked := &asked{Unsealer: dev}
	to := &opener{volumes: []*unlock.Volume{v}, opens: "x"}
	source := &cryptenroll.TPM2{TPM: func(context.Context) (cryptenroll.Unsealer, error) { return asked, nil }, Log: slog.New(slog.DiscardHandler)}
	_ = source.Run(t.Context(), to) // the passphrase is not the one of the test's disk
	encoded := base64.StdEncoding.EncodeToString(asked.got)
	if encoded != string(passphrase.Reveal()) || asked.parent.Template != tpm.SRKP256 || len(asked.parent.Name) != 34 {
		t.Errorf("under %+v it gives %d bytes, want the passphrase under the TCG's storage root key", asked.parent, len(asked.got))
	}
}

// asked notes under which key a secret was looked for, and what it was.
type asked struct {
	cryptenroll.Unsealer
	parent tpm.Parent
	got    []byte
}

func (a *asked) Unseal(ctx context.Context, o tpm.Sealed) (secret.Bytes, error) {
	s, err := a.Unsealer.Unseal(ctx, o)
	a.parent, a.got = o.Parent, slices.Clone(s.Reveal())
	return s, err
}

// bound makes a volume with one keyslot that the TPM opens.
func bound(t *testing.T, dev *tpm.TPM, path string, r cryptenroll.Request) {
	t.Helper()
	passphrase, token, err := cryptenroll.Bind(t.Context(), dev, r)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(32 << 20); err != nil {
		t.Fatal(err)
	}
	h, volume, err := luks2.Format(f, luks2.NewVolume{UUID: boottest.RootUUID, SizeBytes: 32 << 20}, luks2.NewKey{Passphrase: passphrase, Random: true})
	if err != nil {
		t.Fatal(err)
	}
	volume.Wipe()
	if _, _, err := h.SetToken(f, luks2.AnyToken, token(0)); err != nil {
		t.Fatal(err)
	}
}

// keepSRK keeps a storage root key in NV, as installers do.
func keepSRK(t *testing.T, socket string, template tpm2.TPMTPublic) {
	t.Helper()
	raw, err := linuxudstpm.Open(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	owner := tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}
	srk, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(template)}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (tpm2.EvictControl{Auth: owner, ObjectHandle: &tpm2.NamedHandle{Handle: srk.ObjectHandle, Name: srk.Name}, PersistentHandle: 0x81000001}).Execute(raw); err != nil {
		t.Fatal(err)
	}
	if _, err := (tpm2.FlushContext{FlushHandle: srk.ObjectHandle}).Execute(raw); err != nil {
		t.Fatal(err)
	}
}
