package kms

import (
	"context"
	"fmt"
	"time"
)

// testifyTimeout bounds what an ask may cost a boot: a second quote and one
// message.
const testifyTimeout = 10 * time.Second

// testify shows the event log to a KMS that asked for it. The boot depends
// on it only where the KMS wants to know what was booted.
func testify(ctx context.Context, s *session, w Witness, k *Keys, th3 [32]byte, ask *Ask) error {
	ctx, cancel := context.WithTimeout(ctx, testifyTimeout)
	defer cancel()
	log, err := w.BootLog(ctx)
	if err != nil {
		return fmt.Errorf("reading the event log: %w", err)
	}

	extra := EvidenceData(th3)
	quote, err := w.Quote(ctx, ask.Selection, extra[:])
	if err != nil {
		return err
	}
	m6, err := SealEvidence(k.ReportKey(), th3, ask.Cookie, &Evidence{Quote: quote, BootLog: log})
	if err != nil {
		return err
	}
	_, err = s.post(ctx, EvidencePath, m6.Encode())
	return err
}
