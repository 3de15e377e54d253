package tpm_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"maps"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/unlock/tpm"
	"latchkey/unlock/tpm/tpmtest"
)

// A bus stands between us and the TPM: it records, and may change, what
// passes.
type bus struct {
	transport.TPM
	sent    [][]byte
	replies [][]byte
	// inject answers in the TPM's place, unless it gives nil.
	inject func(command []byte) []byte
	// change changes a reply.
	change func(command, reply []byte) []byte
}

func (b *bus) Send(command []byte) ([]byte, error) {
	b.sent = append(b.sent, bytes.Clone(command))
	if b.inject != nil {
		if reply := b.inject(command); reply != nil {
			return reply, nil
		}
	}
	reply, err := b.TPM.Send(command)
	b.replies = append(b.replies, bytes.Clone(reply))
	if b.change != nil && err == nil {
		reply = b.change(command, reply)
	}
	return reply, err
}

// commands names what was sent.
func (b *bus) commands() (names []string) {
	for _, c := range b.sent {
		names = append(names, tpmtest.Name(commandCode(c)))
	}
	return names
}

func commandCode(command []byte) tpm2.TPMCC {
	return tpm2.TPMCC(binary.BigEndian.Uint32(command[6:]))
}

// rawBus connects to a simulator past our own transport.
func rawBus(t testing.TB, s *tpmtest.Simulator) transport.TPM {
	t.Helper()
	raw, err := linuxudstpm.Open(s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func response(rc tpm2.TPMRC) []byte {
	b := binary.BigEndian.AppendUint16(nil, 0x8001)
	b = binary.BigEndian.AppendUint32(b, 10)
	return binary.BigEndian.AppendUint32(b, uint32(rc))
}

// F14: what the TPM asks to have repeated is repeated, on any command.
func TestRepeatsWhatTheTPMPutsOff(t *testing.T) {
	for _, rc := range []tpm2.TPMRC{tpm2.TPMRCRetry, tpm2.TPMRCYielded, tpm2.TPMRCTesting, tpm2.TPMRCNVRate} {
		t.Run(rc.Error()[:12], func(t *testing.T) {
			wire := &bus{TPM: rawBus(t, tpmtest.Start(t))}
			again := false
			wire.inject = func([]byte) []byte {
				if again = !again; again {
					return response(rc)
				}
				return nil
			}

			id, err := tpm.New(wire).Identify(context.Background(), tpm.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer id.Close()
			if _, err := id.Quote(context.Background(), []int{7, 15}, make([]byte, 32)); err != nil {
				t.Error(err)
			}
		})
	}
}

// deadBus always answers the same.
type deadBus struct {
	rc   tpm2.TPMRC
	sent int
}

func (b *deadBus) Send([]byte) ([]byte, error) {
	b.sent++
	return response(b.rc), nil
}

// F15 and the end of F14: patience ends, and a lockout is not hammered.
func TestGivesUpWithACode(t *testing.T) {
	for _, row := range []struct {
		name     string
		rc       tpm2.TPMRC
		code     string
		max, min int // commands
	}{
		{"put off for ever", tpm2.TPMRCRetry, tpm.CodeBusy, 100, 10},
		{"lockout", tpm2.TPMRCLockout, tpm.CodeLockout, 1, 1},
		{"not started", tpm2.TPMRCInitialize, tpm.CodeAbsent, 1, 1},
		{"no such curve", tpm2.TPMRCCurve, tpm.CodeUnsupported, 1, 1},
		{"owner's password", tpm2.TPMRCBadAuth, tpm.CodeAuth, 1, 1},
		{"failure mode", tpm2.TPMRCFailure, tpm.CodeFailed, 1, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dead := &deadBus{rc: row.rc}
				_, err := tpm.New(dead).Identify(context.Background(), tpm.Options{EK: tpm.EKP256})
				if code(err) != row.code {
					t.Errorf("Identify = %v, want code %s", err, row.code)
				}
				if dead.sent > row.max || dead.sent < row.min {
					t.Errorf("%d commands, want %d to %d", dead.sent, row.min, row.max)
				}
			})
		})
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		go cancel()
		if _, err := tpm.New(&deadBus{rc: tpm2.TPMRCRetry}).Identify(ctx, tpm.Options{}); err == nil {
			t.Error("Identify succeeded on a TPM that answers nothing")
		}
	})
}

// A reply is outside bytes, too.
func FuzzReply(f *testing.F) {
	f.Add([]byte{0x80, 0x01, 0, 0, 0, 10, 0, 0, 0, 0})
	f.Add([]byte{})
	f.Add(append(response(0), bytes.Repeat([]byte{0xff}, 64)...))
	f.Fuzz(func(t *testing.T, reply []byte) {
		dev := tpm.New(fixedBus(reply))
		if _, err := dev.Identify(context.Background(), tpm.Options{EK: tpm.EKP256, Certificate: true}); err == nil {
			t.Error("one reply to every command made an identity")
		}
		dev.ReadPCR(context.Background(), 15)
	})
}

type fixedBus []byte

func (b fixedBus) Send([]byte) ([]byte, error) {
	reply := bytes.Clone(b)
	if len(reply) >= 10 {
		binary.BigEndian.PutUint32(reply[2:], uint32(len(reply)))
		if rc := binary.BigEndian.Uint32(reply[6:]); rc&0xfff >= 0x900 && rc&0xfff < 0x930 {
			reply[6] = 0xff // not one of those that are waited for
		}
	}
	return reply, nil
}

// One boot, as the KMS client runs it: the lowest number of commands that
// the protocol needs, and the same whoever answers.
func TestCommandsOfABoot(t *testing.T) {
	wire := &bus{TPM: rawBus(t, tpmtest.Start(t))}
	s, url := keyServer(t)
	dev := tpm.New(wire)
	id := identify(t, dev, tpm.Options{})
	getApproved(t, s, url, id)
	id.Close()
	wire.sent = nil

	boot := tpm.New(wire)
	read, err := boot.ReadPCRs(context.Background(), 4, 7, 8, 9, 11, 12, 15) // as the latch does
	if err != nil {
		t.Fatal(err)
	}
	again := identify(t, boot, tpm.Options{})
	var known []kms.PCR
	for _, n := range slices.Sorted(maps.Keys(read)) {
		known = append(known, kms.PCR{Index: n, Value: read[n]})
	}
	again.Know(known)
	if err := again.Prepare(context.Background(), []int{4, 7, 8, 9, 11, 12, 15}); err != nil {
		t.Fatal(err)
	}
	getOnce(t, s, url, again)
	want := []string{
		"PCR_Read",                       // by the latch
		"CreatePrimary", "CreatePrimary", // EK, AK
		"StartAuthSession", "PolicySecret", // for the answer to come
		"ActivateCredential", "Quote", // S, boot state
	}
	if got := wire.commands(); !slices.Equal(got, want) {
		t.Errorf("a boot sends %q, want %q", got, want)
	}

	t.Logf("%d commands: %q", len(want), want)

	// A sealed secret more for the first volume, and for each that follows.
	blob, err := again.Seal(context.Background(), secret.Random(32))
	if err != nil {
		t.Fatal(err)
	}

	again.Close()
	sealed := identify(t, boot, tpm.Options{})
	for _, want := range [][]string{
		{"FlushContext", "CreatePrimary", "Load", "StartAuthSession", "PolicyPCR", "Unseal", "FlushContext"},
		{"Load", "StartAuthSession", "PolicyPCR", "Unseal", "FlushContext"},
	} {
		wire.sent = nil
		if _, err := sealed.Unseal(context.Background(), blob); err != nil {
			t.Fatal(err)
		}
		if got := wire.commands(); !slices.Equal(got, want) {
			t.Errorf("Unseal sends %q, want %q", got, want)
		}
		t.Logf("%d commands: %q", len(want), want)
	}
}
