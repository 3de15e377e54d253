package boottest

import (
	"time"

	"latchkey/boot/codes"
	"latchkey/boot/wire"
)

// RunWorker runs one worker, in the place of PID 1, for at most limit, and
// returns what it said and whether it ended by itself. What the TPM is
// known by, or "" if it may be used, is told to it at once.
func (m *Machine) RunWorker(tpm string, limit time.Duration) (said []wire.Record, ended bool) {
	m.began = time.Now()
	close(m.gone) // there is no PID 1
	if tpm == "" && m.TPM.Works() {
		m.TPM.PCRs[11] = phase11()
	}
	p := m.start("worker", 0)
	p.Send(wire.Record{Kind: wire.KindEntered, Code: tpm})
	late := time.After(limit)
	for {
		select {
		case r, ok := <-p.records:
			if !ok {
				return said, true
			}
			if r.Kind == wire.KindWantCiphers {
				r.Start = m.now()
				m.load()
				p.Send(wire.Record{Kind: wire.KindCiphers})
			}
			if r.Kind != wire.KindAlive {
				said = append(said, r)
			}
		case <-late:
			return said, false
		}
	}
}

// Failure is the code with which a worker failed, "" if it did not.
func Failure(said []wire.Record) string {
	for _, r := range said {
		if r.Kind == wire.KindFailed {
			return r.Code
		}
	}
	return ""
}

// Finally tells whether it failed with a code that ends the boot.
func Finally(said []wire.Record) bool {
	code := Failure(said)
	return code != "" && codes.Means(code).Class == codes.Final
}
