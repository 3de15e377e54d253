package boot_test

import (
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"latchkey/boot/boottest"
	"latchkey/internal/plan"
	"latchkey/internal/tlsclient/tlstest"
	"latchkey/unlock/source/clevis/clevistest"
)

// TestClevisSource: a token of clevis among other sources, with a server
// that is there, dead, or not one that the plan allows.
func TestClevisSource(t *testing.T) {
	tang, other := clevistest.New(elliptic.P521()), clevistest.New(elliptic.P521())
	const url, address = "http://192.0.2.7", "192.0.2.7:80"
	bound := func(m *boottest.Machine) {
		m.Disks[0].AddToken(clevistest.Token(tang.Seal(url, []byte(boottest.Recovery)), 1))
		m.Tangs = map[string]*clevistest.Tang{address: tang}
		m.Plan.Clevis.Tang, m.Plan.Clevis.Wait = []string{tang.Thumbprint()}, time.Minute
	}
	alone := func(change func(m *boottest.Machine)) func(m *boottest.Machine) {
		return func(m *boottest.Machine) {
			bound(m)
			m.Plan.Trust.KMS = nil
			change(m)
		}
	}
	sealed := clevistest.Sealed{Hash: "sha256", Key: "ecc", Public: clevistest.TPM2B("public"), Bank: "sha256", PCRs: "7"}
	byTPM := func(m *boottest.Machine, threshold int) {
		bound(m)
		m.Plan.Trust.KMS, m.Plan.Clevis.Sealed = nil, []string{sealed.Digest()}
		toTPM := func(content []byte) string { message, _ := sealed.Seal(content); return message }
		toTang := func(content []byte) string { return tang.Seal(url, content) }
		m.Disks[0] = boottest.RootDisk()
		m.Disks[0].AddToken(clevistest.Token(clevistest.Share(threshold, []byte(boottest.Recovery), toTPM, toTang), 1))
	}
	const secureAddress = "192.0.2.7:443"
	root, stranger := tlstest.New(tlstest.Years(2020, 2030)), tlstest.New(tlstest.Years(2020, 2030)) // the clock says 2000
	overTLS := func(change func(m *boottest.Machine)) func(m *boottest.Machine) {
		return alone(func(m *boottest.Machine) {
			at := clevistest.New(elliptic.P256())
			at.TLS = &tls.Config{Certificates: []tls.Certificate{root.Server(tlstest.Years(2020, 2030), x509.ExtKeyUsageServerAuth, "192.0.2.7")}}
			m.Disks[0] = boottest.RootDisk()
			m.Disks[0].AddToken(clevistest.Token(at.Seal("https://192.0.2.7", []byte(boottest.Recovery)), 1))
			m.Tangs = map[string]*clevistest.Tang{secureAddress: at}
			m.Plan.Clevis.Tang, m.Plan.Clevis.TLS.CA = []string{at.Thumbprint()}, []string{root.PEM()}
			change(m)
		})
	}
	for _, r := range []row{
		{"over TLS, before the certificate's time", []string{"clevis"}, overTLS(func(*boottest.Machine) {}), "root", time.Second, []string{"the certificate of 192.0.2.7 is outside its time, or this machine's clock is wrong", "unlock root keyslot=1"}, nil},
		{"over TLS, by another CA", []string{"clevis"}, overTLS(func(m *boottest.Machine) { m.Plan.Clevis.TLS.CA = []string{stranger.PEM()} }), "reboot", 3 * time.Minute, []string{"clevis-silent: volume root, token 0: tang server https://192.0.2.7:443: 192.0.2.7:443: ", "unknown authority"}, nil},
		{"over TLS, and the plan knows no server", []string{"clevis"}, overTLS(func(m *boottest.Machine) { m.Plan.Clevis.TLS = plan.TLS{} }), "reboot", 3 * time.Minute, []string{"clevis-token: volume root, token 0: its server: \"https://192.0.2.7\": the plan does not say how to know a server over TLS"}, nil},
		{"over TLS, by an init without", []string{"clevis"}, overTLS(func(m *boottest.Machine) { m.Plain = true }), "reboot", 3 * time.Minute, []string{"this init has no TLS: build the image again, with latchkey-init-tls"}, nil},
		{"alone", []string{"clevis"}, alone(func(*boottest.Machine) {}), "root", time.Second, []string{"unlock root keyslot=1"}, nil},
		{"the server comes later", []string{"clevis"}, alone(func(m *boottest.Machine) {
			m.Tangs = map[string]*clevistest.Tang{}
			time.AfterFunc(20*time.Second, func() { m.SetTang(address, tang) })
		}), "root", 25 * time.Second, []string{"tang server http://192.0.2.7:80: 192.0.2.7:80", "unlock root keyslot=1"}, nil},
		{"the server is dead", []string{"clevis"}, alone(func(m *boottest.Machine) { m.Tangs = nil }), "reboot", 3 * time.Minute, []string{"clevis-silent: volume root, token 0: tang server http://192.0.2.7", "what to do: "}, nil},
		{"the server has other keys", []string{"clevis"}, alone(func(m *boottest.Machine) { m.Tangs[address] = other }), "reboot", 3 * time.Minute, []string{"clevis-no-key: volume root, token 0: tang server http://192.0.2.7:80: 192.0.2.7:80: it does not have this key (HTTP status 404)", "what to do: the tang server has lost its key"}, nil},
		{"a name that nobody knows", []string{"clevis"}, alone(func(m *boottest.Machine) {
			m.Disks[0].AddToken(clevistest.Token(tang.Seal("tang.local:7500", []byte(boottest.Recovery)), 1))
			m.Tangs = nil
		}), "reboot", 3 * time.Minute, []string{"token 1: tang server http://tang.local:7500: no address found from 192.0.2.9/24"}, nil},
		{"a key that the plan does not allow", []string{"clevis"}, alone(func(m *boottest.Machine) {
			m.Plan.Clevis.Tang = []string{other.Thumbprint()}
		}), "reboot", 3 * time.Minute, []string{"clevis-token: volume root, token 0: the plan does not allow the tang key"}, nil},
		{"no token: the next source begins at once", []string{"clevis", "kms"}, func(m *boottest.Machine) {
			m.Plan.Clevis.Tang = []string{tang.Thumbprint()}
		}, "root", time.Second, []string{"unlock root keyslot=0"}, nil},
		{"no token, while another volume's server is dead: the next source begins at once", []string{"clevis", "kms"}, func(m *boottest.Machine) {
			bound(m)
			m.Disks[0], m.Tangs = boottest.RootDisk(), nil
			m.Disks = append(m.Disks, boottest.DataDisk())
			m.Disks[1].AddToken(clevistest.Token(tang.Seal(url, []byte(boottest.Recovery)), 1))
			m.Plan.Volumes = append(m.Plan.Volumes, plan.Volume{UUID: boottest.DataUUID, Name: "data", Sources: []string{"clevis"}, NoFail: true})
		}, "root", 12 * time.Second, []string{"unlock root keyslot=0"}, nil},
		{"the key server is silent: three seconds", []string{"kms", "clevis"}, func(m *boottest.Machine) {
			bound(m)
			m.KMS.State = "away"
		}, "root", 3500 * time.Millisecond, []string{"unlock root keyslot=1"}, nil},
		{"no TPM", []string{"kms", "clevis"}, func(m *boottest.Machine) {
			bound(m)
			m.TPM.State = "missing"
		}, "root", time.Minute, []string{"unlock root keyslot=1"}, nil},
		{"a token that is nonsense beside a good one", []string{"clevis"}, alone(func(m *boottest.Machine) {
			m.Disks[0].AddToken([]byte(`{"type":"clevis","keyslots":["0"],"jwe":{"protected":"!"}}`))
		}), "root", time.Second, []string{"unlock root keyslot=1"}, nil},
		{"the token of a dead server beside a good one", []string{"clevis"}, alone(func(m *boottest.Machine) {
			m.Disks[0].AddToken(clevistest.Token(tang.Seal("http://192.0.2.8", []byte(boottest.Recovery)), 1))
		}), "root", time.Second, []string{"unlock root keyslot=1"}, nil},
		{"the TPM, with no server", []string{"clevis"}, func(m *boottest.Machine) {
			byTPM(m, 1)
			m.Plan.Clevis.Tang = nil
		}, "root", time.Second, []string{"unlock root keyslot=1"}, []string{"net eth0"}},
		{"the TPM and a server", []string{"clevis"}, func(m *boottest.Machine) { byTPM(m, 2) }, "root", time.Second, []string{"unlock root keyslot=1"}, nil},
		{"the TPM or a server, without a TPM", []string{"clevis"}, func(m *boottest.Machine) {
			byTPM(m, 1)
			m.TPM.State = "missing"
		}, "root", time.Minute, []string{"unlock root keyslot=1"}, nil},
		{"the TPM and a server, without a TPM", []string{"clevis"}, func(m *boottest.Machine) {
			byTPM(m, 2)
			m.TPM.State = "missing"
		}, "reboot", 3 * time.Minute, []string{"unlock: tpm-missing: volume root, token 0: "}, nil},
		{"the TPM, without one", []string{"clevis"}, func(m *boottest.Machine) {
			byTPM(m, 1)
			m.Plan.Clevis.Tang, m.TPM.State = nil, "missing"
		}, "reboot", 3 * time.Minute, []string{"tpm-missing"}, nil},
		{"the TPM, with another PCR 7", []string{"clevis"}, func(m *boottest.Machine) {
			byTPM(m, 2)
			m.TPM.PCRs[7] = [32]byte{1}
		}, "reboot", 3 * time.Minute, []string{"tpm-seal-policy: volume root, token 0: PCR 7 (sha256) has other values"}, nil},
		{"a sealed secret that the plan does not allow", []string{"clevis"}, func(m *boottest.Machine) {
			byTPM(m, 2)
			m.Plan.Clevis.Sealed = nil
		}, "reboot", 3 * time.Minute, []string{"clevis-token: volume root, token 0: share 0: the plan does not allow its sealed secret " + sealed.Digest()}, nil},
	} {
		r.boot(t)
	}
}
