package boot_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/boot/boottest"
	"latchkey/boot/wire"
)

// The real root finds a log whose replay gives the PCRs (faults/node.md
// M12), in the form of systemd's.
func TestMeasureLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := boottest.New("kms")
		defer m.End()
		if o, ok := m.Boot(time.Minute); !ok || o.Root == "" {
			t.Fatalf("no boot:\n%s", strings.Join(m.Log(), "\n"))
		}

		var pcrs [24][32]byte
		var strs []string
		for record := range strings.SplitSeq(string(m.File("/run/log/systemd/tpm2-measure.log")), "\x1e") {
			if record == "" {
				continue
			}
			var e struct {
				PCR     int
				Digests []struct{ HashAlg, Digest string }
				Type    string `json:"content_type"`
				Content struct {
					String, BootID, EventType string
					Timestamp                 int64
				}
			}
			if err := json.Unmarshal([]byte(record), &e); err != nil || !strings.HasSuffix(record, "\n") {
				t.Fatalf("record %q: %v, want one JSON text and a line feed", record, err)
			}
			if e.Type != "systemd" || len(e.Digests) != 4 || e.Digests[0].HashAlg != "sha1" || len(e.Digests[0].Digest) != 40 || e.Digests[1].HashAlg != "sha256" || e.Content.BootID != "0f0e0d0c0b0a09080706050403020100" || e.Content.Timestamp < 1e6 {
				t.Errorf("record %q", record)
			}
			digest, err := hex.DecodeString(e.Digests[1].Digest)
			if err != nil || len(digest) != sha256.Size {
				t.Fatalf("digest %q, %v", e.Digests[1].Digest, err)
			}
			pcrs[e.PCR] = wire.Extended(pcrs[e.PCR], [32]byte(digest))
			strs = append(strs, e.Content.EventType+" "+e.Content.String)
		}

		if pcrs != m.TPM.PCRs {
			t.Error("the log's replay does not give the PCRs")
		}
		want := "phase enter-initrd, volume-key cryptsetup:root:" + boottest.RootUUID + ", phase leave-initrd"
		if got := strings.Join(strs, ", "); got != want {
			t.Errorf("the log has %s, want %s", got, want)
		}
	})
}
