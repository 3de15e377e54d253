package boot_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"testing"
	"time"

	"latchkey/boot/boottest"
	"latchkey/internal/plan"
	"latchkey/internal/tlsclient/tlstest"
	server "latchkey/kms/server/kairos"
)

// TestKairosSource: the source kairos among others, with a server of either
// generation that is there, dead, waits for somebody or refuses, and with the
// TPM alone.
func TestKairosSource(t *testing.T) {
	const url, address = "http://192.0.2.7:8082/challenge", "192.0.2.7:8082"
	asks := func(change func(m *boottest.Machine, c *boottest.Challenger)) func(m *boottest.Machine) {
		return func(m *boottest.Machine) {
			c := &boottest.Challenger{Secrets: map[string]string{"COS_PERSISTENT": boottest.Recovery}}
			m.Challengers = map[string]*boottest.Challenger{address: c}
			m.Plan.Trust.KMS, m.Plan.Volumes[0].Label = nil, "COS_PERSISTENT"
			m.Plan.Kairos = plan.Kairos{Server: "http://192.0.2.7:8082", AnyServer: true, Wait: time.Minute}
			change(m, c)
		}
	}
	nothing := func(*boottest.Machine, *boottest.Challenger) {}
	root, stranger := tlstest.New(tlstest.Years(2020, 2030)), tlstest.New(tlstest.Years(2020, 2030))
	overTLS := func(change func(m *boottest.Machine, c *boottest.Challenger)) func(m *boottest.Machine) {
		return asks(func(m *boottest.Machine, c *boottest.Challenger) {
			c.TLS = &tls.Config{Certificates: []tls.Certificate{root.Server(tlstest.Years(2020, 2030), x509.ExtKeyUsageServerAuth, "192.0.2.7")}}
			m.Plan.Kairos.Server, m.Plan.Kairos.AnyServer, m.Plan.Kairos.TLS.CA = "https://192.0.2.7:8082", false, []string{root.PEM()}
			change(m, c)
		})
	}
	older := func(legacy bool) func(m *boottest.Machine, c *boottest.Challenger) {
		return func(m *boottest.Machine, c *boottest.Challenger) { c.Older, m.Plan.Kairos.Legacy = true, legacy }
	}
	kept := func(secret string) func(m *boottest.Machine, c *boottest.Challenger) {
		return func(m *boottest.Machine, c *boottest.Challenger) {
			c.Kept, c.Secrets["COS_PERSISTENT"], m.Plan.Kairos.Legacy = true, base64.RawURLEncoding.EncodeToString([]byte(secret)), true
		}
	}
	only, byTPM := []string{"kairos"}, func(nv map[uint32]string) func(m *boottest.Machine) {
		return func(m *boottest.Machine) {
			m.Plan.Trust.KMS, m.Plan.Kairos, m.TPM.NV = nil, plan.Kairos{NVIndex: 0x1500001}, nv
		}
	}
	for _, r := range []row{
		{"alone", only, asks(nothing), "root", 5 * time.Second, []string{"unlock root keyslot=1"}, nil},
		{"below a path", only, asks(func(m *boottest.Machine, _ *boottest.Challenger) { m.Plan.Kairos.Server = url }), "reboot", 3 * time.Minute, []string{"kairos-silent: volume root: http://192.0.2.7:8082/challenge: it does not speak the protocol of Kairos"}, nil},
		{"the label is the header's", only, asks(func(m *boottest.Machine, c *boottest.Challenger) {
			m.Plan.Volumes[0].Label = ""
			c.Secrets[""] = boottest.Recovery // the test's volumes have none
		}), "root", 5 * time.Second, []string{"unlock root keyslot=1"}, nil},
		{"the server comes later", only, asks(func(m *boottest.Machine, c *boottest.Challenger) {
			m.Challengers = map[string]*boottest.Challenger{}
			time.AfterFunc(20*time.Second, func() { m.SetChallenger(address, c) })
		}), "root", 25 * time.Second, []string{"kairos-silent: volume root: http://192.0.2.7:8082: 192.0.2.7:8082: connection refused", "unlock root keyslot=1"}, nil},
		{"it waits for approval", only, asks(func(m *boottest.Machine, c *boottest.Challenger) {
			m.Plan.Kairos.Wait = 0
			c.Refuses = server.Pending
			time.AfterFunc(20*time.Minute, func() { c.Set(0) })
		}), "root", 21 * time.Minute, []string{"kairos-waiting: volume root: http://192.0.2.7:8082: the server closed the connection without an answer: the machine waits for approval", "unlock root keyslot=1"}, nil},
		{"nobody approves it", only, asks(func(_ *boottest.Machine, c *boottest.Challenger) { c.Refuses = server.Pending }), "reboot", 3 * time.Minute, []string{"kairos-waiting: volume root", "what to do: the server has nothing for this machine yet"}, nil},
		{"it is dead", only, asks(func(m *boottest.Machine, _ *boottest.Challenger) { m.Challengers = nil }), "reboot", 3 * time.Minute, []string{"kairos-silent: volume root: http://192.0.2.7:8082: 192.0.2.7:8082: connection refused", "what to do: "}, nil},
		{"it refuses for good", only, asks(func(_ *boottest.Machine, c *boottest.Challenger) { c.Refuses = server.Quarantined }), "reboot", 90 * time.Second, []string{"kairos-refused: volume root: http://192.0.2.7:8082: the server refuses: ", "TPM is quarantined"}, nil},
		{"it refuses for good: the next source begins at once", []string{"kairos", "prompt"}, asks(func(m *boottest.Machine, c *boottest.Challenger) {
			c.Refuses = server.Quarantined
			m.Person.Types, m.Person.After = []string{boottest.Recovery}, 0
		}), "root", 5 * time.Second, []string{"unlock root keyslot=1"}, nil},
		{"it has another passphrase", only, asks(func(_ *boottest.Machine, c *boottest.Challenger) { c.Secrets["COS_PERSISTENT"] = "another" }), "reboot", 90 * time.Second, []string{"kairos-wrong: volume root: "}, nil},
		{"the key server is silent: three seconds", []string{"kms", "kairos"}, func(m *boottest.Machine) {
			trust := m.Plan.Trust
			asks(nothing)(m)
			m.Plan.Trust, m.KMS.State = trust, "away"
		}, "root", 5 * time.Second, []string{"unlock root keyslot=1"}, nil},
		{"no TPM", only, asks(func(m *boottest.Machine, _ *boottest.Challenger) { m.TPM.State = "missing" }), "reboot", 3 * time.Minute, []string{"tpm-missing"}, nil},
		{"a volume that the boot does without", only, asks(func(m *boottest.Machine, _ *boottest.Challenger) {
			m.Disks = append(m.Disks, boottest.DataDisk())
			m.Plan.Volumes = append(m.Plan.Volumes, plan.Volume{UUID: boottest.DataUUID, Name: "data", Label: "COS_DATA", Sources: only, NoFail: true})
		}), "root", 12 * time.Second, []string{"unlock root keyslot=1"}, []string{"unlock data"}},

		{"of the older generation", only, asks(older(true)), "root", 5 * time.Second, []string{"unlock root keyslot=1"}, nil},
		{"of the older generation, which the plan does not allow", only, asks(older(false)), "reboot", 3 * time.Minute, []string{"kairos-silent: volume root: http://192.0.2.7:8082: it does not speak the protocol of Kairos, or only its older generation"}, nil},
		{"upgraded, with a passphrase that the TPM encrypted", only, asks(kept(boottest.Sealed(boottest.Recovery))), "root", 5 * time.Second, []string{"unlock root keyslot=1"}, nil},
		{"upgraded, with one that another TPM encrypted", only, asks(kept("another's")), "reboot", 90 * time.Second, []string{"tpm-seal-foreign: volume root"}, nil},

		{"over TLS", only, overTLS(nothing), "root", 5 * time.Second, []string{"unlock root keyslot=1"}, nil},
		{"over TLS, by another CA", only, overTLS(func(m *boottest.Machine, _ *boottest.Challenger) { m.Plan.Kairos.TLS.CA = []string{stranger.PEM()} }), "reboot", 3 * time.Minute, []string{"kairos-silent: volume root: https://192.0.2.7:8082: 192.0.2.7:8082: ", "unknown authority"}, nil},
		{"over TLS, with the name of another", only, overTLS(func(_ *boottest.Machine, c *boottest.Challenger) {
			c.TLS.Certificates = []tls.Certificate{root.Server(tlstest.Years(2020, 2030), x509.ExtKeyUsageServerAuth, "192.0.2.8")}
		}), "reboot", 3 * time.Minute, []string{"kairos-silent: volume root: ", "192.0.2.8, not 192.0.2.7"}, nil},
		{"over TLS, by an init without", only, overTLS(func(m *boottest.Machine, _ *boottest.Challenger) { m.Plain = true }), "reboot", 3 * time.Minute, []string{"plan-invalid: this init has no source kairos: build the image again, with latchkey-init-tls"}, nil},

		{"the TPM keeps it", only, byTPM(map[uint32]string{0x1500001: boottest.Recovery}), "root", 5 * time.Second, []string{"unlock root keyslot=1"}, []string{"net eth0"}},
		{"the TPM keeps nothing", only, byTPM(map[uint32]string{0x1500000: boottest.Recovery}), "reboot", 90 * time.Second, []string{"tpm-seal-foreign: volume root: reading NV index 0x1500001: the TPM has nothing there"}, nil},
	} {
		r.boot(t)
	}
}
