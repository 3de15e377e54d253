package eventlog

import (
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-eventlog/register"
	"github.com/google/go-eventlog/tcg"

	"latchkey/internal/pcr"
)

// Selection are the PCRs that a log is held against: firmware and what it
// started (0 to 5), Secure Boot (7), GRUB (8, 9), the boot stub (11 to 13),
// shim (14). PCR 6 is the host's maker's, 10 is IMA's, 15 is the latch's.
var Selection = []int{0, 1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 13, 14}

// MaxLog bounds a log, in bytes: the firmware reserves 64 KiB at least, and
// most logs have 20 to 60 KB.
const MaxLog = 120 << 10

// maxEvents bounds the events of a log: real ones have 50 to 300.
const maxEvents = 4096

// Evidence is a log with what it is held against.
type Evidence struct {
	Log  []byte
	PCRs map[int]Digest // as quoted, of the SHA-256 bank
	// CommandLine and Kernel are what the machine says they are. They count
	// where their digest was measured.
	CommandLine, Kernel string
	// Running: the machine has left its initramfs, and PCR 11 may have been
	// extended by what the log does not have.
	Running bool
}

// ErrLog is a log that is malformed, or does not add up to the PCRs.
var ErrLog = errors.New("the event log was refused")

// Read replays a log and says what was measured. It refuses one that does
// not add up to every PCR of Selection. The parser is another's and reads
// what an attacker may have written, so that a panic in it is a refusal.
func Read(e Evidence) (s *Summary, err error) {
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, fmt.Errorf("%w: the parser failed: %v", ErrLog, p)
		}
	}()
	if len(e.Log) > MaxLog {
		return nil, fmt.Errorf("%w: it has %d bytes, more than %d", ErrLog, len(e.Log), MaxLog)
	}
	log, err := tcg.ParseEventLog(e.Log, tcg.ParseOpts{AllowPadding: true})
	if err != nil {
		return nil, fmt.Errorf("%w: it is malformed: %w", ErrLog, err)
	}
	if !slices.Contains(log.Algs, register.HashSHA256) {
		return nil, fmt.Errorf("%w: it has no SHA-256 digests", ErrLog)
	}

	events, err := replay(log, e)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLog, err)
	}

	r := &reader{evidence: e, s: &Summary{}, seen: map[string]string{}, rest: map[int][]byte{}}
	for _, event := range events {
		r.event(event)
	}
	r.finish()
	return r.s, nil
}

// replay returns the events that are proven by the PCRs, in their order.
func replay(log *tcg.EventLog, e Evidence) ([]tcg.Event, error) {
	all := log.Events(register.HashSHA256)
	if len(all) > maxEvents {
		return nil, fmt.Errorf("it has %d events, more than %d", len(all), maxEvents)
	}
	logged := map[int]bool{}
	for _, event := range all {
		if event.Type != tcg.NoAction {
			logged[event.Index] = true
		}
	}

	var registers []register.MR
	for _, i := range Selection {
		value := e.PCRs[i]
		if i == phasePCR {
			before, ok := beforePhases(all, value)
			if !ok && e.Running {
				continue // what the log has of it stays out of the summary
			}
			if !ok {
				return nil, fmt.Errorf("PCR %d does not add up", i)
			}
			value = before
		}
		// The parser takes a PCR without events for one that adds up.
		if !logged[i] && value != (Digest{}) {
			return nil, fmt.Errorf("PCR %d was extended, and it has no events of it", i)
		}
		registers = append(registers, register.PCR{Index: i, Digest: value[:], DigestAlg: crypto.SHA256})
	}

	events, err := log.Verify(registers)
	if failed, ok := errors.AsType[tcg.ReplayError](err); ok {
		slices.Sort(failed.InvalidMRs)
		return nil, fmt.Errorf("PCRs %v do not add up", failed.InvalidMRs)
	}
	return events, err
}

// phasePCR is extended by the stub, whose events the firmware logs, and then
// by userspace, whose are known by construction.
const phasePCR = 11

// phases are the words that a boot extends PCR 11 with, one after the other:
// latchkey's latch or systemd-pcrphase(8).
var phases = []string{pcr.EnterInitrd, pcr.LeaveInitrd, "sysinit", "ready"}

// beforePhases is what PCR 11 held when the firmware's log ended. It is ok
// if that and the first few phases make the value.
func beforePhases(events []tcg.Event, value Digest) (before Digest, ok bool) {
	for _, e := range events {
		if e.Index == phasePCR && e.Type != tcg.NoAction {
			before = extend(before, e.Digest)
		}
	}
	now := before
	for _, word := range phases {
		if now == value {
			break
		}
		now = pcr.Extend(now, []byte(word))
	}
	return before, now == value
}

// extend is TPM2_PCR_Extend in the SHA-256 bank.
func extend(old Digest, digest []byte) Digest {
	return sha256.Sum256(append(slices.Clone(old[:]), digest...))
}
