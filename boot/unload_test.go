package boot_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/boot/boottest"
	"latchkey/boot/wire"
	"latchkey/internal/pcr"
)

// TestUnloadsWhileKeyslotsAreTried: flushing costs a slow TPM as long as an
// extend, and nobody waits for it where the TPM has done its part. A secret
// that is sealed to it, or that is to be rotated, still needs its keys.
func TestUnloadsWhileKeyslotsAreTried(t *testing.T) {
	for _, row := range []struct {
		name   string
		keys   func(*boottest.KMS)
		before bool
	}{
		{"a passphrase", func(*boottest.KMS) {}, true},
		{"a sealed secret", func(k *boottest.KMS) { k.Keys[boottest.RootUUID] = boottest.Sealed(boottest.Key) }, false},
		{"a rotation", func(k *boottest.KMS) {
			k.Staged = map[string]string{boottest.RootUUID: "the next key of this volume"}
		}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := boottest.New("kms")
				defer m.End()
				m.Mapping = time.Second
				row.keys(&m.KMS)
				if o, ok := m.Boot(time.Hour); !ok || o.Root == "" {
					t.Fatalf("ended with %s, %t, want the root\n%s", o, ok, strings.Join(m.Log(), "\n"))
				}
				at := func(words string) int {
					return slices.IndexFunc(m.Log(), func(line string) bool { return strings.Contains(line, words) })
				}
				unloaded, mapped := at("keys are unloaded"), at("map root on")
				if unloaded < 0 || mapped < 0 || (unloaded < mapped) != row.before {
					t.Errorf("unloaded before the volume was open: %t, want %t\n%s", unloaded < mapped, row.before, strings.Join(m.Log(), "\n"))
				}
				if strings.Contains(strings.Join(m.Log(), "\n"), "TPM_RC_HANDLE") || m.TPM.Loaded() != 0 {
					t.Errorf("%d objects are loaded at the end\n%s", m.TPM.Loaded(), strings.Join(m.Log(), "\n"))
				}
			})
		})
	}
}

// TestReadOnce: what the latch reads before it extends PCR 11 is what the
// worker knows of the PCRs, with PCR 11 as it is then.
func TestReadOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := boottest.New("kms")
		defer m.End()
		m.TPM.PCRs[7] = [32]byte{7}
		if o, ok := m.Boot(time.Hour); !ok || o.Root == "" {
			t.Fatalf("ended with %s, %t, want the root", o, ok)
		}
		if len(m.TPM.Known) != len(wire.Likely) {
			t.Fatalf("the worker knows %v, want PCRs %v", m.TPM.Known, wire.Likely)
		}
		for i, n := range wire.Likely {
			want := map[int][32]byte{7: {7}, 11: wire.Extended([32]byte{}, pcr.Measure([]byte("enter-initrd")).SHA256)}[n]
			if got := m.TPM.Known[i]; got.Index != n || got.Value != want {
				t.Errorf("the worker knows that PCR %d is %x, want PCR %d with %x", got.Index, got.Value, n, want)
			}
		}
	})
}

// TestPendingDoubtsKeptKeys: a key server that does not know a machine has it
// look, once, whether the keys that it took from NV are its own.
func TestPendingDoubtsKeptKeys(t *testing.T) {
	for state, want := range map[string]int{"pending": 1, "": 0, "away": 0} {
		synctest.Test(t, func(t *testing.T) {
			m := boottest.New("kms")
			defer m.End()
			m.KMS.State, m.Plan.Find.Timeout = state, 0
			m.Boot(time.Hour)
			if m.TPM.Doubts != want {
				t.Errorf("the key server is %q: the keys were doubted %d times, want %d", state, m.TPM.Doubts, want)
			}
		})
	}
}
