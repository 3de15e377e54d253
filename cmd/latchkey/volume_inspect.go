package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"latchkey/internal/cli"
	"latchkey/internal/meminfo"
	"latchkey/unlock"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source/clevis"
	"latchkey/unlock/source/cryptenroll"
	"latchkey/unlock/source/talos"
	"latchkey/unlock/source/together"
)

// volumeReport is what inspect prints as JSON.
type volumeReport struct {
	Accepted     bool            `json:"accepted"`
	Code         string          `json:"code,omitempty"` // the rule that is broken
	What         string          `json:"what,omitempty"`
	Remedy       string          `json:"remedy,omitempty"` // why, and what to do
	Type         string          `json:"type,omitempty"`   // LUKS2 or LUKS1
	UUID         string          `json:"uuid,omitempty"`
	Label        string          `json:"label,omitempty"`
	SeqID        uint64          `json:"seqid,omitempty"`
	OffsetBytes  int64           `json:"offset_bytes,omitempty"`
	SizeBytes    int64           `json:"size_bytes,omitempty"`
	SectorBytes  int             `json:"sector_bytes,omitempty"`
	Cipher       string          `json:"cipher,omitempty"`
	Backup       bool            `json:"backup,omitempty"`   // a header backup, without any payload
	Detached     bool            `json:"detached,omitempty"` // the payload is on another device
	SubsetDigest string          `json:"subset_digest,omitempty"`
	OtherCopy    string          `json:"other_copy,omitempty"` // same, stale or damaged
	Flags        []string        `json:"flags,omitempty"`
	Keyslots     []keyslotReport `json:"keyslots,omitempty"`
	Skipped      []skippedReport `json:"skipped_keyslots,omitempty"`
	Tokens       []tokenReport   `json:"tokens,omitempty"`
	Warnings     []string        `json:"warnings,omitempty"`
}

type keyslotReport struct {
	ID       int    `json:"id"`
	KDF      string `json:"kdf"`
	Cost     string `json:"cost"`
	KeyBits  int    `json:"key_bits"`
	Priority int    `json:"priority"`
	For      string `json:"for,omitempty"` // what a token says that it is for
}

type skippedReport struct {
	ID   int    `json:"id"`
	Code string `json:"code"`
	What string `json:"what"`

	Remedy string `json:"remedy,omitempty"`
}

type tokenReport struct {
	ID       int                  `json:"id"`
	Type     string               `json:"type"`
	Keyslots []int                `json:"keyslots"`
	Tang     []clevis.Server      `json:"tang,omitempty"`     // of a token of clevis
	Sealed   []string             `json:"sealed,omitempty"`   // of the same, by the TPM
	TPM2     *cryptenroll.Binding `json:"tpm2,omitempty"`     // of a token of type systemd-tpm2
	Talos    *talos.Binding       `json:"talos,omitempty"`    // of a token of Talos
	Together string               `json:"together,omitempty"` // of a token of type latchkey-together
	Unusable string               `json:"unusable,omitempty"` // why the source clevis does not use it
}

func volumeInspectCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "inspect IMAGE-OR-DEVICE",
		Short: "Check a LUKS header as the init does, and show it",
		Long: `Inspect reads both header copies, chooses one as cryptsetup does, and checks
it against the rules of the init. It exits with 3 and the line "rule: what"
when the init would refuse the volume, with why, and the command that mends
it. A keyslot that the init would skip is named with the same. Inspect needs no
key and writes nothing.`,
		Example: `  latchkey volume inspect /dev/vda2
  latchkey volume inspect --json root.luks2 | jq -r .subset_digest`,
		Args: cli.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			f, h, err := readVolumeOrBackup(args[0])
			if err != nil {
				if rejected, ok := errors.AsType[*luks2.Rejected](err); ok && asJSON {
					return errors.Join(printJSON(c.OutOrStdout(), volumeReport{Code: rejected.Code(), What: rejected.What(), Remedy: remedyFor(args[0], rejected)}), err)
				}
				return err
			}
			defer f.Close()
			r := report(args[0], h, luks2.NewMemory(meminfo.Total()))
			r.Warnings = append(memberWarnings(f), r.Warnings...)
			if asJSON {
				return printJSON(c.OutOrStdout(), r)
			}
			return r.print(c.OutOrStdout())
		},
	}

	c.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON")
	return c
}

func report(path string, h *luks2.Header, memory *luks2.Memory) volumeReport {
	s, sum := h.Segment(), h.SubsetDigest()
	r := volumeReport{
		Accepted: true, Type: h.Type(), UUID: h.UUID(), Label: h.Label(), SeqID: h.SeqID(),
		OffsetBytes: s.OffsetBytes, SizeBytes: s.SizeBytes, SectorBytes: s.SectorBytes,
		Cipher: s.Cipher, SubsetDigest: hex.EncodeToString(sum[:]), OtherCopy: h.OtherCopy().String(), Flags: h.Flags(), Warnings: warnings(h, memory),
	}
	if r.Detached, r.Backup = h.Detached(), h.Saved(); r.Detached || r.Backup {
		r.SizeBytes = 0 // nobody knows here
	}
	for _, k := range h.Keyslots() {
		cost := fmt.Sprintf("%d iterations, %s", k.KDF.Iterations, k.KDF.Hash)
		if k.KDF.Type != "pbkdf2" {
			cost = fmt.Sprintf("%d KiB, %d passes, %d lanes", k.KDF.MemoryKiB, k.KDF.Time, k.KDF.CPUs)
		}
		r.Keyslots = append(r.Keyslots, keyslotReport{k.ID, k.KDF.Type, cost, 8 * k.KeyBytes, k.Priority, purpose(h, k.ID)})
	}

	for _, k := range h.Skipped() {
		r.Skipped = append(r.Skipped, skippedReport{k.ID, k.Reason.Code(), k.Reason.What(), strings.ReplaceAll(remedyFor(path, k.Reason), "--key-slot N", fmt.Sprint("--key-slot ", k.ID))})
	}
	for _, t := range h.Tokens() {
		r.Tokens = append(r.Tokens, reportToken(h, t))
	}
	return r
}

func reportToken(h *luks2.Header, t luks2.Token) tokenReport {
	r := tokenReport{ID: t.ID, Type: t.Type, Keyslots: t.Keyslots}
	if t.Type == cryptenroll.TokenType {
		b := cryptenroll.Describe(t.JSON)
		if len(t.Keyslots) == 0 {
			b = cryptenroll.Binding{What: "cannot be used: it is for no keyslot"}
		}
		r.TPM2 = &b
	}
	if b, ok := talos.Describe(t.Type, t.JSON); ok {
		if !slices.Contains(slotIDs(h), t.ID) {
			b = talos.Binding{What: fmt.Sprintf("cannot be used: it is for the keyslot of its own number, %d, which is not there", t.ID)}
		}
		r.Talos = &b
	}
	if t.Type == together.TokenType {
		r.Together = togetherWords(t)
		if one, err := together.Parse(t); err == nil && len(one.Sealed) > 0 {
			b := cryptenroll.Describe(one.Sealed)
			r.TPM2 = &b
		}
	}
	if t.Type != "clevis" {
		return r
	}
	r.Tang, r.Sealed = clevis.Servers(t.JSON), clevis.Sealed(t.JSON)
	if err := clevis.Check(t.JSON, r.allow(), r.Sealed, true); err != nil {
		r.Unusable = err.Error()
	}
	return r
}

// togetherWords says what opens a keyslot together.
func togetherWords(in luks2.Token) string {
	t, err := together.Parse(in)
	if err != nil {
		return "cannot be used: " + err.Error()
	}
	text := strings.Join(t.Members, " and ") + " together"
	if t.State == together.Enrolling {
		text += ", if the KMS has taken its part"
	}
	return text
}

// thumbprint is the name of a key: RFC 7638 with SHA-256 or SHA-1. What a
// token says may be anything.
var thumbprint = regexp.MustCompile(`^([A-Za-z0-9_-]{43}|[A-Za-z0-9_-]{27})$`)

// clevis is what the plan has to say for a token to be used.
func (r tokenReport) clevis() string {
	var fields []string
	if keys := r.allow(); len(keys) > 0 {
		fields = append(fields, fmt.Sprintf("tang: [%s]", strings.Join(keys, ", ")))
	}
	if len(r.Sealed) > 0 {
		fields = append(fields, fmt.Sprintf("sealed: [%s]", strings.Join(r.Sealed, ", ")))
	}
	if slices.ContainsFunc(r.Tang, func(s clevis.Server) bool { return strings.HasPrefix(strings.ToLower(s.URL), "https:") }) {
		fields = append(fields, "ca: FILE")
	}
	return strings.Join(fields, ", ")
}

// allow lists the keys that a plan may allow for a token of clevis.
func (r tokenReport) allow() (keys []string) {
	for _, s := range r.Tang {
		if thumbprint.MatchString(s.Thumbprint) && !slices.Contains(keys, s.Thumbprint) {
			keys = append(keys, s.Thumbprint)
		}
	}
	return keys
}

// purpose is what a token says that a keyslot is for, "" if none does.
func purpose(h *luks2.Header, slot int) string {
	for _, m := range unlock.Marks(h) {
		if m.Slot == slot {
			return fmt.Sprintf("latchkey, machine %q, %s", m.Node.Words(), m.State)
		}
	}
	if old, ok := unlock.Renewals(h)[slot]; ok {
		return fmt.Sprintf("the key that is to replace keyslot %d", old)
	}
	for _, t := range h.Tokens() {
		if t.Type == recoveryType && slices.Contains(t.Keyslots, slot) {
			if key := sealedKey(t); key != nil {
				return fmt.Sprintf("recovery key, sealed for people as %x: latchkey-kms recovery show %s", key[:4], h.UUID())
			}
			return "recovery key"
		}
	}
	return ""
}

// warnings are what is right by the rules, and may still surprise somebody
// at the next boot.
func warnings(h *luks2.Header, memory *luks2.Memory) (list []string) {
	if h.Type() == "LUKS1" {
		list = append(list, `the init opens LUKS1 only where the plan says "luks1: true", and such a volume cannot be enrolled`)
	}
	if h.Saved() {
		list = append(list, "this is a header backup: a copy of a volume's header and keyslots, without any payload")
	}
	if h.Detached() {
		list = append(list, "the payload is on another device: the init opens it where the plan says header: {path: FILE} and data: PARTUUID=…; build the image again when this header is changed")
	}
	if h.Accept() == luks2.Cryptsetup {
		list = append(list, fmt.Sprintf(`the init opens a volume with %s and such hashes only where the plan says "accept: cryptsetup" of it`, strings.Join(h.Ciphers(), ", ")))
	}
	switch h.OtherCopy() {
	case luks2.CopyDamaged:
		list = append(list, "one of the two header copies is damaged: latchkey volume repair writes it anew")
	case luks2.CopyStale:
		list = append(list, "one of the two header copies is older than the other, as a power cut leaves it: latchkey volume repair writes it anew")
	}
	for _, k := range h.Keyslots() {
		if err := memory.Check(k); err != nil {
			list = append(list, err.Error())
		}
	}

	if len(h.Flags()) > 0 {
		list = append(list, fmt.Sprintf("the header asks for %q: the init does only what the options of the volume in latchkey.yaml say", h.Flags()))
	}
	if len(h.Keyslots()) == 0 {
		list = append(list, "no keyslot can be used: nothing opens this volume")
	}
	return list
}
