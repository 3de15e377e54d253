package tpm_test

import (
	"context"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"latchkey/internal/secret"
	"latchkey/unlock/tpm"
	"latchkey/unlock/tpm/tpmtest"
)

// failedTries is TPM_PT_LOCKOUT_COUNTER.
func failedTries(t *testing.T, raw transport.TPM) uint32 {
	t.Helper()
	rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapTPMProperties, Property: uint32(tpm2.TPMPTLockoutCounter), PropertyCount: 1}.Execute(raw)
	if err != nil {
		t.Fatal(err)
	}
	list, err := rsp.CapabilityData.Data.TPMProperties()
	if err != nil || len(list.TPMProperty) != 1 {
		t.Fatal(list, err)
	}
	return list.TPMProperty[0].Value
}

// powerCuts takes the power away after each of some boots, and gives how many
// of them the TPM took for guesses of a password.
func powerCuts(t *testing.T, sim *tpmtest.Simulator, boots int, boot func(dev *tpm.TPM) error) uint32 {
	t.Helper()
	sim.Reboot() // what was sealed by other programs has been counted here
	before := failedTries(t, rawBus(t, sim))
	for i := range boots {
		dev := open(t, sim)
		if err := boot(dev); err != nil {
			t.Fatalf("boot %d: %v", i, err)
		}
		extendPCR(t, dev, 15) // as every boot does behind its volumes
		sim.Reboot()
	}
	return failedTries(t, rawBus(t, sim)) - before
}

// C10: power cuts count as failed authorizations for keys that are subject
// to the dictionary-attack protection; ours are not.
func TestPowerCutsDoNotLockOut(t *testing.T) {
	sim := tpmtest.Start(t)
	first, err := open(t, sim).Identify(context.Background(), tpm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := secret.Random(32)
	blob, err := first.Seal(context.Background(), want)
	if err != nil {
		t.Fatal(err)
	}
	n := powerCuts(t, sim, 40, func(dev *tpm.TPM) error {
		id, err := dev.Identify(context.Background(), tpm.Options{})
		if err != nil {
			return err
		}
		got, err := id.Unseal(context.Background(), blob)
		if err == nil && !got.Equal(want) {
			t.Error("another secret")
		}
		return err
	})
	if n != 0 {
		t.Errorf("%d of 40 power cuts were counted", n)
	}
}

// TestPowerCutsAfterUnseal: nor do they count for what Bind sealed, in itself
// or by the storage key above it, nor for what others sealed under a key that
// is subject to the protection: the TPM is told.
func TestPowerCutsAfterUnseal(t *testing.T) {
	const boots = 5 // swtpm is locked after 3
	theirs := func(under tpm.Template, s sealing) func(*testing.T, *tpmtest.Simulator) tpm.Sealed {
		return func(t *testing.T, sim *tpmtest.Simulator) tpm.Sealed {
			s.under = under
			return s.seal(t, rawBus(t, sim))
		}
	}
	ours := func(which int) func(*testing.T, *tpmtest.Simulator) tpm.Sealed {
		return func(t *testing.T, sim *tpmtest.Simulator) tpm.Sealed {
			bound, err := open(t, sim).Bind(t.Context(), secret.Own([]byte(sealedText)), []tpm.Policy{pcr7})
			if err != nil {
				t.Fatal(err)
			}
			return bound[which]
		}
	}
	for _, row := range []struct {
		name   string
		seal   func(*testing.T, *tpmtest.Simulator) tpm.Sealed
		exempt bool // the TPM need not be told
	}{
		{"what Bind sealed for systemd", ours(0), false},
		{"what Bind sealed for itself", ours(1), true},
		{"systemd 252, clevis: a plain primary key", theirs(tpm.PlainP256, sealing{policy: []tpm.Policy{pcr7}}), false},
		{"systemd 254: the storage root key", theirs(tpm.SRKP256, sealing{policy: []tpm.Policy{pcr7}}), true},
		{"clevis without PCRs", theirs(tpm.SRKP256, sealing{}), false},
		{"systemd with a PIN", theirs(tpm.SRKP256, sealing{policy: []tpm.Policy{tpm.PIN{}}, pin: []byte("1234")}), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			sim := tpmtest.Start(t)
			o := row.seal(t, sim)
			told := false
			unseal := func(dev *tpm.TPM) error {
				got, err := dev.Unseal(t.Context(), o)
				got.Wipe()
				return err
			}
			if n := powerCuts(t, sim, boots, unseal); n != 0 {
				t.Errorf("%d of %d power cuts were counted", n, boots)
			}
			wire := &bus{TPM: rawBus(t, sim), inject: func(command []byte) []byte {
				told = told || commandCode(command) == tpm2.TPMCCShutdown
				return nil
			}}
			if err := unseal(tpm.New(wire)); err != nil || told == row.exempt {
				t.Errorf("Unseal = %v; the TPM was told: %t", err, told)
			}
		})
	}
}

// TestPowerCutAfterAWrongPIN: a wrong PIN counts, whatever the TPM is told
// after it.
func TestPowerCutAfterAWrongPIN(t *testing.T) {
	sim := tpmtest.Start(t)
	o := sealing{under: tpm.SRKP256, policy: []tpm.Policy{tpm.PIN{}}, pin: []byte("1234")}.seal(t, rawBus(t, sim))
	o.PIN = secret.Own([]byte("1235"))
	n := powerCuts(t, sim, 1, func(dev *tpm.TPM) error {
		if _, err := dev.Unseal(t.Context(), o); codeOf(err) != tpm.CodePIN {
			t.Errorf("Unseal = %v, want code %s", err, tpm.CodePIN)
		}
		return nil
	})
	if n != 1 {
		t.Errorf("%d guesses were counted, want 1", n)
	}
}
