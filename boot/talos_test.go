package boot_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"
	"testing"
	"time"

	"latchkey/boot/boottest"
	"latchkey/internal/plan"
	"latchkey/internal/tlsclient/tlstest"
	"latchkey/unlock/source/talos/talostest"
)

const (
	talosNode    = "4c4c4544-0042-3510-8052-b4c04f4d3632"
	talosURL     = "http://192.0.2.8:4050"
	talosAddress = "192.0.2.8:4050"
	talosBlob    = "what the KMS sealed"
)

var (
	talosKey  = strings.Repeat("k", 32)
	talosSalt = strings.Repeat("s", 32)
)

// byTalos is a machine whose root Talos gave a key of a KMS, in keyslot 2.
func byTalos(change func(m *boottest.Machine, k *talostest.KMS)) func(m *boottest.Machine) {
	return func(m *boottest.Machine) {
		k := &talostest.KMS{Node: talosNode, Blob: talosBlob, Key: talosKey}
		m.Disks[0].AddKeyslot(2, talostest.Passphrase(talosKey), talostest.TokenKMS(talosBlob))
		m.TalosKMS = map[string]func(net.Conn){talosAddress: k.Serve}
		m.UUID = strings.ToUpper(talosNode)
		m.Plan.Trust.KMS = nil
		m.Plan.Talos = plan.Talos{KMS: []string{talosURL}, Sealed: []string{talostest.Name(talosBlob)}, Wait: 2 * time.Minute}
		change(m, k)
	}
}

// TestTalosKMS: volumes that Talos gave keys of a KMS, with one that is there,
// comes, says no, or is another.
func TestTalosKMS(t *testing.T) {
	kms := []string{"talos-kms"}
	root, stranger := tlstest.New(tlstest.Years(2020, 2030)), tlstest.New(tlstest.Years(2020, 2030)) // the clock says 2000
	secure := func(ca *tlstest.Authority) func(m *boottest.Machine) {
		return byTalos(func(m *boottest.Machine, k *talostest.KMS) {
			k.TLS = &tls.Config{Certificates: []tls.Certificate{root.Server(tlstest.Years(2020, 2030), x509.ExtKeyUsageServerAuth, "192.0.2.8")}, NextProtos: []string{"h2"}}
			m.Plan.Talos.KMS, m.Plan.Talos.TLS.CA = []string{"https://192.0.2.8:4050"}, []string{ca.PEM()}
		})
	}
	for _, r := range []row{
		{"alone", kms, byTalos(func(*boottest.Machine, *talostest.KMS) {}), "root", time.Second, []string{"unlock root keyslot=2"}, nil},
		{"over TLS", kms, secure(root), "root", time.Second, []string{"unlock root keyslot=2"}, nil},
		{"over TLS, by another CA", kms, secure(stranger), "reboot", 4 * time.Minute, []string{"talos-kms-silent: volume root, token 2: Talos KMS https://192.0.2.8:4050: 192.0.2.8:4050: TLS: ", "unknown authority"}, nil},
		{"one of two is dead", kms, byTalos(func(m *boottest.Machine, _ *talostest.KMS) {
			m.Plan.Talos.KMS = []string{"http://192.0.2.9:1", talosURL}
		}), "root", time.Second, []string{"unlock root keyslot=2"}, nil},
		{"it comes later", kms, byTalos(func(m *boottest.Machine, k *talostest.KMS) {
			m.TalosKMS = map[string]func(net.Conn){}
			time.AfterFunc(20*time.Second, func() { m.SetTalos(talosAddress, k.Serve) })
		}), "root", 25 * time.Second, []string{"Talos KMS http://192.0.2.8:4050: 192.0.2.8:4050", "unlock root keyslot=2"}, nil},
		{"it is dead", kms, byTalos(func(m *boottest.Machine, _ *talostest.KMS) { m.TalosKMS = nil }), "reboot", 4 * time.Minute, []string{"talos-kms-silent: volume root, token 2: Talos KMS http://192.0.2.8:4050", "what to do: "}, nil},
		{"it says no, and then an operator approves the machine", kms, byTalos(func(_ *boottest.Machine, k *talostest.KMS) {
			k.Know("another")
			time.AfterFunc(65*time.Second, func() { k.Know(talosNode) })
		}), "root", 95 * time.Second, []string{`talos-kms-refused: Talos KMS http://192.0.2.8:4050: 192.0.2.8:4050: PERMISSION_DENIED: "refused"`, "unlock root keyslot=2"}, nil},
		{"it says no: asked as seldom as Talos asks", kms, byTalos(func(m *boottest.Machine, k *talostest.KMS) {
			k.Know("another")
			time.AfterFunc(119*time.Second, func() {
				if n := k.Asked(); n != 4 {
					t.Errorf("asked %d times in 119 s, want 4", n)
				}
			})
		}), "reboot", 4 * time.Minute, []string{"talos-kms-refused: volume root, token 2: "}, nil},
		{"another machine", kms, byTalos(func(m *boottest.Machine, _ *talostest.KMS) { m.UUID = "5c4c4544-0042-3510-8052-b4c04f4d3632" }), "reboot", 4 * time.Minute, []string{"talos-kms-refused"}, nil},
		{"the plan says which machine this is", kms, byTalos(func(m *boottest.Machine, _ *talostest.KMS) { m.UUID, m.Plan.Talos.Node = "", talosNode }), "root", time.Second, []string{"unlock root keyslot=2"}, nil},
		{"nobody says which machine this is", kms, byTalos(func(m *boottest.Machine, _ *talostest.KMS) { m.UUID = "" }), "reboot", 4 * time.Minute, []string{"talos-node: volume root, token 2: reading the machine's UUID"}, nil},
		{"what the plan does not allow", kms, byTalos(func(m *boottest.Machine, _ *talostest.KMS) { m.Plan.Talos.Sealed = []string{talostest.Name("another")} }), "reboot", 4 * time.Minute, []string{"talos-token: volume root, token 2: the plan does not allow what it has sealed, " + talostest.Name(talosBlob)}, nil},
		{"a volume that is pinned needs no name", kms, byTalos(func(m *boottest.Machine, _ *talostest.KMS) {
			m.Plan.Talos.Sealed, m.Plan.Volumes[0].Digest = nil, m.Disks[0].Digest()
		}), "root", time.Second, []string{"unlock root keyslot=2"}, nil},
		{"another key", kms, byTalos(func(_ *boottest.Machine, k *talostest.KMS) { k.Key = strings.Repeat("x", 32) }), "reboot", 4 * time.Minute, []string{"wrong-key: volume root, token 2: "}, nil},
		{"a short key: nothing is tried", kms, byTalos(func(_ *boottest.Machine, k *talostest.KMS) { k.Key = "short" }), "reboot", 4 * time.Minute, []string{"talos-kms-silent: ", "is not a key of 32"}, nil},
		{"a token for a keyslot that is gone", kms, byTalos(func(m *boottest.Machine, _ *talostest.KMS) {
			m.Disks[0] = boottest.RootDisk()
			m.Disks[0].SetTokenAt(5, talostest.TokenKMS(talosBlob))
		}), "reboot", 4 * time.Minute, []string{"volume root has no token of type sideroKMS"}, nil},
		{"no token: the next source begins at once", []string{"talos-kms", "prompt"}, byTalos(func(m *boottest.Machine, _ *talostest.KMS) {
			m.Disks[0] = boottest.RootDisk()
			m.Person.Types = []string{boottest.Recovery}
		}), "root", 5 * time.Second, []string{"unlock root keyslot=1"}, nil},
	} {
		r.boot(t)
	}
}

// TestTalosTPM: volumes that Talos bound to the TPM.
func TestTalosTPM(t *testing.T) {
	bound := func(signed string, change func(m *boottest.Machine)) func(m *boottest.Machine) {
		return byTalos(func(m *boottest.Machine, _ *talostest.KMS) {
			m.Disks[0] = boottest.RootDisk()
			m.Disks[0].AddKeyslot(2, talostest.Passphrase(talosKey), talostest.TokenTPM("public", talosKey, signed))
			m.Plan.Talos = plan.Talos{Sealed: []string{talostest.Name("public")}}
			change(m)
		})
	}
	tpm := []string{"talos-tpm2"}
	for _, r := range []row{
		{"PCR 7", tpm, bound("", func(*boottest.Machine) {}), "root", time.Second, []string{"unlock root keyslot=2"}, []string{"log: network"}},
		{"another PCR 7", tpm, bound("", func(m *boottest.Machine) { m.TPM.PCRs[7][0] = 1 }), "reboot", 3 * time.Minute, []string{"tpm-seal-policy", "volume root, token 2: unsealing: PCR 7 (sha256) has other values"}, nil},
		{"what the plan does not allow", tpm, bound("", func(m *boottest.Machine) { m.Plan.Talos.Sealed[0] = talostest.Name("other") }), "reboot", 3 * time.Minute, []string{"talos-token: volume root, token 2: the plan does not allow"}, nil},
		{"signed PCRs, and the image has no signature", tpm, bound("11", func(*boottest.Machine) {}), "reboot", 3 * time.Minute, []string{"tpm-seal-policy: volume root, token 2: it wants a signature of PCRs by the key that Talos' image was signed with"}, nil},
		{"a secret of another size", tpm, bound("", func(m *boottest.Machine) {
			m.Disks[0] = boottest.RootDisk()
			key := strings.Repeat("k", 24)
			m.Disks[0].AddKeyslot(2, talostest.Passphrase(key), talostest.TokenTPM("public", key, ""))
		}), "reboot", 3 * time.Minute, []string{"talos-token: volume root, token 2: unsealing: what the TPM unsealed has 24 bytes, want 32"}, nil},
		{"no TPM", tpm, bound("", func(m *boottest.Machine) { m.TPM.State = "missing" }), "reboot", 3 * time.Minute, []string{"tpm-missing"}, nil},
	} {
		r.boot(t)
	}
}

// TestTalosNodeID: volumes that open by the machine's identity.
func TestTalosNodeID(t *testing.T) {
	known := func(change func(m *boottest.Machine)) func(m *boottest.Machine) {
		return byTalos(func(m *boottest.Machine, _ *talostest.KMS) {
			m.Disks[0] = boottest.RootDisk()
			m.Disks[0].AddKeyslot(2, talosNode+"STATE", nil)
			m.Plan.Talos = plan.Talos{}
			m.Plan.Volumes[0].Talos, m.Plan.Volumes[0].Digest = "STATE", m.Disks[0].Digest()
			change(m)
		})
	}
	node := []string{"talos-node-id"}
	for _, r := range []row{
		{"this machine", node, known(func(*boottest.Machine) {}), "root", time.Second, []string{"unlock root keyslot=2"}, nil},
		{"another machine", node, known(func(m *boottest.Machine) { m.UUID = "5c4c4544-0042-3510-8052-b4c04f4d3632" }), "reboot", 3 * time.Minute, []string{"wrong-key"}, nil},
		{"another volume", node, known(func(m *boottest.Machine) { m.Plan.Volumes[0].Talos = "EPHEMERAL" }), "reboot", 3 * time.Minute, []string{"wrong-key"}, nil},
		{"a UUID that names no machine", node, known(func(m *boottest.Machine) { m.UUID = "00000000-0000-0000-0000-000000000000" }), "reboot", 3 * time.Minute, []string{"talos-node: the UUID of this machine"}, nil},
		{"every keyslot has a token of Talos", node, known(func(m *boottest.Machine) {
			for slot := range 3 {
				m.Disks[0].SetTokenAt(slot, talostest.TokenKMS("x"))
			}
		}), "reboot", 3 * time.Minute, []string{"no keyslot without a token of Talos"}, nil},
	} {
		r.boot(t)
	}
}

// TestTalosLocked: a volume whose passphrase goes on with a salt in another
// one's file system, whichever of the two is there first.
func TestTalosLocked(t *testing.T) {
	locked := func(passphrase string, change func(m *boottest.Machine, k *talostest.KMS)) func(m *boottest.Machine) {
		return byTalos(func(m *boottest.Machine, k *talostest.KMS) {
			d := addData(m, false, "talos-kms")
			d.AddKeyslot(3, passphrase, talostest.TokenKMS(talosBlob))
			m.Plan.Volumes[1].LockedTo = "root"
			m.Keys = map[string]string{"/dev/mapper/root:encryption-salt.yaml": talostest.Salt(talosSalt)}
			change(m, k)
		})
	}
	kms, key := []string{"talos-kms"}, talostest.Passphrase(talosKey)
	opens := []string{"unlock root keyslot=2", "unlock data keyslot=3"}
	for _, r := range []row{
		{"both by one KMS", kms, locked(key+talosSalt, func(*boottest.Machine, *talostest.KMS) {}), "root", time.Second, opens, nil},
		{"listed first", kms, locked(key+talosSalt, func(m *boottest.Machine, _ *talostest.KMS) {
			m.Plan.Root.Device = "/dev/mapper/root"
			m.Plan.Volumes[0], m.Plan.Volumes[1] = m.Plan.Volumes[1], m.Plan.Volumes[0]
		}), "root", time.Second, opens, nil},
		{"a key that is not locked", kms, locked(key, func(*boottest.Machine, *talostest.KMS) {}), "root", time.Second, opens, nil},
		{"another salt", kms, locked(key+talosSalt, func(m *boottest.Machine, _ *talostest.KMS) {
			m.Keys["/dev/mapper/root:encryption-salt.yaml"] = talostest.Salt(strings.Repeat("t", 32))
		}), "reboot", 4 * time.Minute, []string{"wrong-key: volume data, token 3"}, nil},
		{"no salt", kms, locked(key+talosSalt, func(m *boottest.Machine, _ *talostest.KMS) { m.Keys = nil }), "reboot", 4 * time.Minute, []string{"talos-salt: volume data, token 3: reading encryption-salt.yaml of root, which Talos locked data to", "what to do: "}, nil},
		{"the other stays closed: this one is not tried without it", kms, locked(key, func(m *boottest.Machine, _ *talostest.KMS) {
			m.Disks[0] = boottest.RootDisk()
		}), "reboot", 4 * time.Minute, []string{"volume root has no token of type sideroKMS"}, []string{"unlock data"}},
		{"a person opens the other later", kms, locked(key+talosSalt, func(m *boottest.Machine, _ *talostest.KMS) {
			m.Disks[0] = boottest.RootDisk()
			m.Plan.Volumes[0].Sources = []string{"prompt"}
			m.Person.Types = []string{boottest.Recovery}
		}), "root", 10 * time.Minute, []string{"unlock root keyslot=1", "unlock data keyslot=3"}, nil},
		{"a key file is locked, too", []string{"key-file"}, locked(key+talosSalt, func(m *boottest.Machine, _ *talostest.KMS) {
			m.Disks[1].AddKeyslot(4, talosKey+"static"+talosSalt, nil)
			m.Disks[0].AddKeyslot(3, talosKey+"static", nil)
			m.Plan.KeyFiles = []plan.KeyFile{{Name: "key-file", Path: "static.key"}}
			m.Plan.Volumes[1].Sources, m.Plan.Talos = []string{"key-file"}, plan.Talos{}
			m.Keys["/keys/key-file"] = talosKey + "static"
		}), "root", time.Second, []string{"unlock root keyslot=3", "unlock data keyslot=4"}, nil},
	} {
		r.boot(t)
	}
}
