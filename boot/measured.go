package boot

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"latchkey/boot/wire"
	"latchkey/internal/pcr"
)

// measureLog is where systemd keeps what it extends PCRs with, so that
// systemd-pcrlock(8) and who verifies a quote can replay them: TCG's
// canonical event log as a JSON text sequence (RFC 7464), as
// tpm2_userspace_log of systemd's src/shared/tpm2-util.c writes it.
const measureLog = "/run/log/systemd/tpm2-measure.log"

// A measured is one extend that the latch carried out.
type measured struct {
	order wire.Record
	banks []string      // that were extended
	at    time.Duration // since the kernel started
}

// An event is one record of the log.
type event struct {
	PCR         uint8         `json:"pcr"`
	Digests     []eventDigest `json:"digests"`
	ContentType string        `json:"content_type"`
	Content     eventContent  `json:"content"`
}

type eventDigest struct {
	Hash   string `json:"hashAlg"`
	Digest string `json:"digest"`
}

type eventContent struct {
	String    string `json:"string"`
	BootID    string `json:"bootId"`
	Timestamp int64  `json:"timestamp"` // in µs
	EventType string `json:"eventType"`
}

// writeMeasured tells the real root what was extended, in every bank that
// the TPM has on.
func (b *pid1) writeMeasured() error {
	if len(b.measured) == 0 {
		return nil
	}
	id, err := b.sys.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return fmt.Errorf("writing the measurement log: %w", err)
	}

	var log strings.Builder
	for _, m := range b.measured {
		text, kind := m.order.Text, "phase"
		if name, ok := strings.CutPrefix(text, "volume "); ok {
			text, kind = "cryptsetup:"+name+":"+b.volume(name).UUID, "volume-key"
		}
		record, err := json.Marshal(event{
			m.order.PCR,
			m.digests(),
			"systemd",
			eventContent{text, strings.ReplaceAll(strings.TrimSpace(string(id)), "-", ""), m.at.Microseconds(), kind},
		})
		if err != nil {
			return fmt.Errorf("writing the measurement log: %w", err)
		}
		fmt.Fprintf(&log, "\x1e%s\n", record)
	}

	if err := b.sys.Mkdir("/run/log/systemd"); err != nil {
		return fmt.Errorf("writing the measurement log: %w", err)
	}
	if err := b.sys.WriteFile(measureLog, []byte(log.String()), 0o600); err != nil {
		return fmt.Errorf("writing the measurement log: %w", err)
	}
	return nil
}

// digests are those of the banks that the latch has named and that exist.
func (m measured) digests() (out []eventDigest) {
	for _, bank := range m.banks {
		if d := m.order.Digests.Of(pcr.Bank(bank)); d != nil {
			out = append(out, eventDigest{bank, hex.EncodeToString(d)})
		}
	}
	return out
}
