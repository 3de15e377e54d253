// Package pcr is what latchkey measures into PCR 11 of a TPM's SHA-256 bank
// and how a signature names it: the one place that image build and key server
// share.
package pcr

import (
	"crypto/sha256"
	"encoding/binary"
)

// The words that the init measures into PCR 11 (systemd-pcrphase(8)).
const (
	EnterInitrd = "enter-initrd" // before the first use of the TPM: the state in which a machine asks
	LeaveInitrd = "leave-initrd" // when all volumes are open
)

// Extend is what a PCR holds after data was measured into it: TPM 2.0
// Library, Part 1, section 17.2.
func Extend(value [32]byte, data []byte) [32]byte {
	sum := sha256.Sum256(data)
	return sha256.Sum256(append(value[:], sum[:]...))
}

// Phases is what PCR 11 holds where nothing but words of phases was measured.
func Phases(words ...string) (value [32]byte) {
	for _, w := range words {
		value = Extend(value, []byte(w))
	}
	return value
}

// Policy11 is the digest of a policy that is PolicyPCR of PCR 11 alone,
// SHA-256 bank (TPM 2.0 Library, Part 3, section 23.7): what
// systemd-measure(1) signs.
func Policy11(value [32]byte) [32]byte {
	values := sha256.Sum256(value[:])
	b := make([]byte, 32, 128)                             // an empty policy
	b = binary.BigEndian.AppendUint32(b, 0x0000017f)       // TPM_CC_PolicyPCR
	b = binary.BigEndian.AppendUint32(b, 1)                // one bank
	b = append(b, 0x00, 0x0b, 0x03, 0x00, 1<<(11-8), 0x00) // SHA-256; three bytes of bits
	return sha256.Sum256(append(b, values[:]...))
}
