// Package eventlog reads what a machine's firmware, boot loader and boot
// stub measured: a log in the format of the TCG PC Client Platform Firmware
// Profile, which counts only where it adds up to PCRs that a TPM quoted.
package eventlog

import (
	"encoding/hex"
	"fmt"
)

// A Digest is 32 bytes that people read as hex.
type Digest [32]byte

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Digest) UnmarshalText(b []byte) error {
	raw, err := hex.DecodeString(string(b))
	if err != nil || len(raw) != len(d) {
		return fmt.Errorf("reading %.70q: not 64 hex digits", b)
	}
	*d = Digest(raw)
	return nil
}

// A Summary is what a machine measured while it started, as far as it can be
// told from a log that adds up. What is not known is empty: nothing in it
// rests on text that was not measured, unless it says so.
type Summary struct {
	// SecureBoot, of PCR 7: On or Off; empty if the firmware did not say.
	SecureBoot string `json:"secure_boot,omitempty"`
	// Keys of Secure Boot, of PCR 7; nil: not known.
	PK  *Keys `json:"pk,omitempty"`
	KEK *Keys `json:"kek,omitempty"`
	DB  *Keys `json:"db,omitempty"`
	DBX *Keys `json:"dbx,omitempty"`
	// Signers vouched for what was started, in the order of their first use:
	// entries of db, and of shim's own lists.
	Signers []Signer `json:"signers,omitempty"`
	// SBAT is shim's revocation level, of PCR 7: "shim" → 4.
	SBAT map[string]int `json:"sbat,omitempty"`

	// Firmware is its version, of PCR 0.
	Firmware string `json:"firmware,omitempty"`
	// Programs were started by the firmware, of PCR 4: boot loaders, UKIs.
	Programs []Program `json:"programs,omitempty"`
	// Sections of a UKI that the boot stub measured into PCR 11.
	Sections []Measured `json:"sections,omitempty"`
	// Kernel is the release of a UKI's kernel, if its section .uname says so.
	Kernel string `json:"kernel,omitempty"`
	// KernelSaid is what the machine calls its kernel, where nothing measured
	// its name: a help for people, and no proof.
	KernelSaid string `json:"kernel_said,omitempty"`
	// CommandLine is the kernel's, from a UKI, a boot stub or GRUB; it is
	// empty if only its digest is known.
	CommandLine string `json:"command_line,omitempty"`
	// Config is what the boot stub measured into PCR 12: a command line that
	// was given to it, addons, credentials.
	Config []Measured `json:"config,omitempty"`
	// Files were read by GRUB, of PCR 9, or are the kernel's initrd.
	Files []Measured `json:"files,omitempty"`
	// Commands of GRUB, of PCR 8.
	Commands []string `json:"commands,omitempty"`
	// Loads are those texts of PCR 8 that are commands by which GRUB loads a
	// kernel or an initrd, whatever they are labeled as.
	Loads []string `json:"loads,omitempty"`
	// Mok are shim's own lists, of PCR 14.
	Mok []Measured `json:"mok,omitempty"`
	// Rest is a digest for each PCR over what of it is not told above.
	Rest map[int]Digest `json:"rest,omitempty"`
	// Odd says what of the log could not be understood, or is not as the
	// profile wants it.
	Odd []string `json:"odd,omitempty"`
}

// Values of Summary.SecureBoot.
const (
	On  = "on"
	Off = "off"
)

// Keys are one of Secure Boot's variables.
type Keys struct {
	Certificates []Certificate `json:"certificates,omitempty"`
	// Hashes are entries that are no certificates: digests of programs and of
	// certificates, as a rule.
	Hashes Prints `json:"hashes,omitempty"`
	// Others are entries that could not be understood, or were too many.
	Others int `json:"others,omitempty"`
	// SHA256 is of the whole variable.
	SHA256 Digest `json:"sha256"`
}

// A Certificate is told by the SHA-256 of its DER.
type Certificate struct {
	Name   string `json:"name"` // common name of its subject
	SHA256 Digest `json:"sha256"`
}

// A Signer is what the firmware or shim found a program's signature to be
// made by.
type Signer struct {
	List        string      `json:"list"` // the variable it is from: db, Shim, MokListRT, …
	Certificate Certificate `json:"certificate"`
}

// A Program was started. Its path is what the loader said, and is not
// measured.
type Program struct {
	Path   string `json:"path,omitempty"`
	SHA256 Digest `json:"sha256"` // Authenticode's digest
}

// Measured is something with its digest. Text says that Name is what was
// measured; else it is only what it was called.
type Measured struct {
	Name   string `json:"name"`
	SHA256 Digest `json:"sha256"`
	Text   bool   `json:"text,omitempty"`
}

// Bounds of a summary, which is kept in each machine's record.
const (
	maxCertificates = 32
	maxPrints       = 1024
	maxSigners      = 16
	maxPrograms     = 32
	maxMeasured     = 32
	maxCommands     = 256 // a distribution's grub.cfg runs 40 to 120
	maxLoads        = 8
	maxText         = 512
	maxCommandLine  = 4096
	maxOdd          = 16
)

// oddly notes something for the operator.
func (s *Summary) oddly(format string, args ...any) {
	if len(s.Odd) < maxOdd {
		s.Odd = append(s.Odd, clean(fmt.Sprintf(format, args...), maxText))
	}
}
