package wrapping_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"latchkey/internal/secret"
	"latchkey/kms/wrapping"
	"latchkey/unlock/tpm/tpmtest"
)

func open(t *testing.T, s *tpmtest.Simulator) transport.TPMCloser {
	t.Helper()
	bus, err := wrapping.Open(s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bus.Close() })
	return bus
}

// recorder keeps all that crosses the bus.
type recorder struct {
	transport.TPM
	seen bytes.Buffer
}

func (r *recorder) Send(command []byte) ([]byte, error) {
	r.seen.Write(command)
	reply, err := r.TPM.Send(command)
	r.seen.Write(reply)
	return reply, err
}

func extend(t *testing.T, bus transport.TPM, pcr int) {
	t.Helper()
	_, err := tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)},
		Digests:   tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: make([]byte, 32)}}},
	}.Execute(bus)
	if err != nil {
		t.Fatal(err)
	}
}

// A key opens on its TPM in its boot state, over restarts, and nowhere and
// never else; nobody on the bus sees it.
func TestSeal(t *testing.T) {
	chip, other := tpmtest.Start(t), tpmtest.Start(t)
	key := secret.Own([]byte("canary-wrapping-key-of-32-bytes!"))
	bus := &recorder{TPM: open(t, chip)}
	blob, err := wrapping.Seal(bus, key, []int{7, 2, 7})
	if err != nil {
		t.Fatal(err)
	}

	back, err := wrapping.Unseal(bus, blob)
	if err != nil || !back.Equal(key) {
		t.Fatalf("Unseal = %v, %v, want the key", back, err)
	}

	if bytes.Contains(bus.seen.Bytes(), key.Reveal()) || bytes.Contains(blob, key.Reveal()) {
		t.Error("the key crossed the bus, or stands in the blob")
	}
	if _, err := wrapping.Unseal(open(t, other), blob); !errors.Is(err, wrapping.ErrElsewhere) {
		t.Errorf("Unseal on another TPM: %v, want ErrElsewhere", err)
	}

	extend(t, bus, 8)
	if _, err := wrapping.Unseal(bus, blob); err != nil {
		t.Errorf("Unseal after PCR 8 changed, which it is not bound to: %v", err)
	}
	extend(t, bus, 2)
	if _, err := wrapping.Unseal(bus, blob); !errors.Is(err, wrapping.ErrBootState) {
		t.Errorf("Unseal after PCR 2 changed: %v, want ErrBootState", err)
	}

	chip.Reboot()
	for range 40 { // handles and sessions are given back; nothing counts as an attack
		again, err := wrapping.Open(chip.Socket)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := wrapping.Unseal(again, blob); err != nil || !back.Equal(key) {
			t.Fatalf("Unseal after a restart = %v, %v, want the key", back, err)
		}
		again.Close() // a software TPM serves one at a time
	}
}

func TestRefused(t *testing.T) {
	bus := open(t, tpmtest.Start(t))
	key := secret.Random(32)
	for _, pcrs := range [][]int{nil, {16}, {23}, {-1}, {7, 24}} {
		if _, err := wrapping.Seal(bus, key, pcrs); err == nil {
			t.Errorf("Seal to PCRs %v succeeded", pcrs)
		}
	}

	if _, err := wrapping.Seal(bus, secret.Random(16), []int{7}); err == nil {
		t.Error("Seal of 16 bytes succeeded")
	}
	blob, err := wrapping.Seal(bus, key, []int{7})
	if err != nil {
		t.Fatal(err)
	}

	for name, b := range map[string][]byte{
		"no JSON": []byte("x"), "two": append(bytes.Clone(blob), blob...), "another version": bytes.Replace(blob, []byte(`"version":1`), []byte(`"version":2`), 1),
		"other PCRs": bytes.Replace(blob, []byte(`[7]`), []byte(`[8]`), 1), "an unknown field": bytes.Replace(blob, []byte(`{`), []byte(`{"x":1,`), 1),
		"too long": bytes.Repeat([]byte(" "), 5000), "PCR 23": bytes.Replace(blob, []byte(`[7]`), []byte(`[23]`), 1),
	} {
		if back, err := wrapping.Unseal(bus, b); err == nil {
			t.Errorf("%s: Unseal = %v, want an error", name, back)
		}
	}
}

// swapper is somebody on the bus who answers with a storage key of his own,
// whose private half he has: what is salted to it he can read.
type swapper struct {
	transport.TPM
	his  transport.TPM
	sent []uint32 // command codes: Part 1, section 18
}

func (s *swapper) Send(command []byte) ([]byte, error) {
	code := binary.BigEndian.Uint32(command[6:])
	s.sent = append(s.sent, code)
	if code == uint32(tpm2.TPMCCCreatePrimary) {
		return s.his.Send(command)
	}
	return s.TPM.Send(command)
}

func TestSwappedParent(t *testing.T) {
	ours, his := open(t, tpmtest.Start(t)), open(t, tpmtest.Start(t))
	blob, err := wrapping.Seal(ours, secret.Random(32), []int{7})
	if err != nil {
		t.Fatal(err)
	}
	bus := &swapper{TPM: ours, his: his}
	if _, err := wrapping.Unseal(bus, blob); !errors.Is(err, wrapping.ErrElsewhere) {
		t.Errorf("Unseal under another storage key: %v, want ErrElsewhere", err)
	}
	for _, code := range bus.sent {
		if code == uint32(tpm2.TPMCCLoad) || code == uint32(tpm2.TPMCCStartAuthSession) {
			t.Errorf("command %#x was sent after the storage key was swapped", code)
		}
	}
}

func FuzzUnseal(f *testing.F) {
	f.Add([]byte(`{"version":1,"pcrs":[7],"parent":"AA==","private":"AA==","public":"AA=="}`))
	f.Fuzz(func(t *testing.T, blob []byte) {
		if key, err := wrapping.Unseal(noTPM{}, blob); err == nil {
			t.Errorf("Unseal(%q) = %v without a TPM", blob, key)
		}
	})
}

type noTPM struct{}

func (noTPM) Send([]byte) ([]byte, error) { return nil, errors.New("no TPM") }
