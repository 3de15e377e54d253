package boot_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"latchkey/boot/boottest"
	"latchkey/internal/plan"
)

// systemdToken is a token of systemd-cryptenroll for PCR 7 and keyslot 0,
// and the name of its sealed secret. The TPM of these tests has no other
// secrets than what is there in clear.
func systemdToken(public string) (token json.RawMessage, sealed string) {
	private, err := base64.StdEncoding.DecodeString(boottest.Key) // whose base64 opens the keyslot
	if err != nil {
		panic(err)
	}
	var blob []byte
	for _, part := range [][]byte{private, []byte(public)} {
		blob = append(binary.BigEndian.AppendUint16(blob, uint16(len(part))), part...)
	}
	sum := sha256.Sum256([]byte(public))
	return fmt.Appendf(nil, `{"type":"systemd-tpm2","keyslots":["0"],"tpm2-blob":%q,"tpm2-pcrs":[7],"tpm2-pcr-bank":"sha256","tpm2-primary-alg":"ecc","tpm2-pin":false,"latchkey_pcrs":{"7":"%064d"}}`,
		base64.StdEncoding.EncodeToString(blob), 0), hex.EncodeToString(sum[:])
}

// TestSystemdSource: a token of systemd-cryptenroll among other sources, in
// a boot that is as it was and in others.
func TestSystemdSource(t *testing.T) {
	token, sealed := systemdToken("public")
	other, _ := systemdToken("somebody's")
	bound := func(m *boottest.Machine) {
		m.Disks[0].AddToken(token)
		m.Plan.Systemd.Sealed = []string{sealed}
	}
	with := func(change func(m *boottest.Machine)) func(m *boottest.Machine) {
		return func(m *boottest.Machine) {
			bound(m)
			change(m)
		}
	}
	alone := func(change func(m *boottest.Machine)) func(m *boottest.Machine) {
		return with(func(m *boottest.Machine) {
			m.Plan.Trust.KMS = nil
			change(m)
		})
	}
	differs := func(m *boottest.Machine) { m.TPM.PCRs[7][0] = 1 }
	for _, r := range []row{
		{"alone, without a network", []string{"systemd-tpm2"}, alone(func(m *boottest.Machine) { m.KMS.State = "away" }), "root", time.Second, []string{"unlock root keyslot=0"}, []string{"log: network"}},
		{"another boot", []string{"systemd-tpm2"}, alone(differs), "reboot", 3 * time.Minute, []string{"tpm-seal-policy", "volume root, token 0: PCR 7 (sha256) has other values", "what to do: "}, nil},
		{"another boot: the next source begins at once", []string{"systemd-tpm2", "kms"}, with(differs), "root", time.Second, []string{"PCR 7 (sha256) has other values", `PCR 7 was "0000000000000000" and is "0100000000000000"`, "unlock root keyslot=0"}, nil},
		{"the TPM comes first: the network is not waited for", []string{"systemd-tpm2", "kms"}, with(func(m *boottest.Machine) { m.KMS.State = "away" }), "root", time.Second, []string{"unlock root keyslot=0"}, nil},
		{"the key server is silent: three seconds", []string{"kms", "systemd-tpm2"}, with(func(m *boottest.Machine) { m.KMS.State = "away" }), "root", 3500 * time.Millisecond, []string{"unlock root keyslot=0"}, nil},
		{"beside the key server, which has the TPM open", []string{"kms"}, with(func(m *boottest.Machine) {
			m.Disks = append(m.Disks, boottest.DataDisk())
			m.Disks[1].AddToken(token)
			m.Plan.Volumes = append(m.Plan.Volumes, plan.Volume{UUID: boottest.DataUUID, Name: "data", Sources: []string{"systemd-tpm2"}})
		}), "root", time.Second, []string{"unlock root keyslot=0", "unlock data keyslot=0"}, nil},
		{"the TPM takes no closing measurement: what runs then could have the key", []string{"systemd-tpm2", "prompt"}, alone(func(m *boottest.Machine) {
			m.TPM.Refuses = 15
		}), "reboot", 0, []string{"unlock root keyslot=0", "latch"}, nil},
		{"no TPM", []string{"systemd-tpm2"}, alone(func(m *boottest.Machine) { m.TPM.State = "missing" }), "reboot", 3 * time.Minute, []string{"tpm-missing"}, nil},
		{"no TPM, and a key file", []string{"systemd-tpm2", "key-file"}, alone(func(m *boottest.Machine) {
			m.TPM.State = "missing"
			m.Plan.KeyFiles = []plan.KeyFile{{Name: "key-file", Path: "/etc/root.key"}}
			m.Keys = map[string]string{m.Plan.KeyFiles[0].InImage(): boottest.Recovery}
		}), "root", time.Minute, []string{"unlock root keyslot=1"}, nil},
		{"a secret that the plan does not allow", []string{"systemd-tpm2"}, func(m *boottest.Machine) {
			m.Plan.Trust.KMS = nil
			m.Plan.Systemd.Sealed = []string{sealed}
			m.Disks[0].AddToken(other)
		}, "reboot", 3 * time.Minute, []string{"systemd-token", "token 0: the plan does not allow its sealed secret"}, []string{"unlock root keyslot"}},
		{"a token that is nonsense before a good one", []string{"systemd-tpm2"}, func(m *boottest.Machine) {
			m.Disks[0].AddToken([]byte(`{"type":"systemd-tpm2","keyslots":["0"],"tpm2-blob":["AAAA","AAAA"]}`))
			bound(m)
			m.Plan.Trust.KMS = nil
		}, "root", time.Second, []string{"token 0: it has 2 blobs", "unlock root keyslot=0"}, nil},
		{"no token that this init reads", []string{"systemd-tpm2"}, func(m *boottest.Machine) {
			m.Disks[0].AddToken([]byte(`{"type":"systemd-fido2","keyslots":["0"]}`))
			m.Plan.Trust.KMS, m.Plan.Systemd.Sealed = nil, []string{sealed}
		}, "reboot", 3 * time.Minute, []string{"volume root has no token of type systemd-tpm2; token 0 is of type systemd-fido2"}, nil},
	} {
		r.boot(t)
	}
}
