package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

func (r volumeReport) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "type\t%s\n", r.Type)
	fmt.Fprintf(t, "uuid\t%s\n", r.UUID)
	if r.Label != "" {
		fmt.Fprintf(t, "label\t%s\n", r.Label)
	}
	fmt.Fprintf(t, "seqid\t%d\n", r.SeqID)
	if r.Detached || r.Backup {
		fmt.Fprintf(t, "payload\tas large as its device less %d bytes, sectors of %d, %s\n", r.OffsetBytes, r.SectorBytes, r.Cipher)
	} else {
		fmt.Fprintf(t, "payload\t%d bytes at %d, sectors of %d, %s\n", r.SizeBytes, r.OffsetBytes, r.SectorBytes, r.Cipher)
	}
	fmt.Fprintf(t, "digest\t%s\n", r.SubsetDigest)
	if len(r.Flags) > 0 {
		fmt.Fprintf(t, "flags\t%q\n", r.Flags)
	}

	for _, k := range r.Keyslots {
		text := fmt.Sprintf("%s, %s, priority %d", k.KDF, k.Cost, k.Priority)
		if k.For != "" {
			text += ": " + k.For
		}
		fmt.Fprintf(t, "keyslot %d\t%s\n", k.ID, text)
	}
	for _, k := range r.Skipped {
		fmt.Fprintf(t, "keyslot %d\tskipped: %s: %s\n", k.ID, k.Code, k.What)
		if k.Remedy != "" {
			fmt.Fprintf(t, "\t%s\n", k.Remedy)
		}
	}
	for _, k := range r.Tokens {
		k.print(t)
	}

	for _, text := range r.Warnings {
		fmt.Fprintf(t, "warning\t%s\n", text)
	}
	return t.Flush()
}

func (k tokenReport) print(t io.Writer) {
	fmt.Fprintf(t, "token %d\t%q, keyslots %d\n", k.ID, k.Type, k.Keyslots)
	for _, s := range k.Tang {
		fmt.Fprintf(t, "\ttang %q, key %q\n", s.URL, s.Thumbprint)
	}
	if k.Unusable != "" {
		fmt.Fprintf(t, "\tnot used by latchkey: %s\n", k.Unusable)
	} else if k.Type == "clevis" {
		fmt.Fprintf(t, "\tin latchkey.yaml, if these are your servers' keys: sources: [clevis: {%s}]\n", k.clevis())
	}
	if k.Talos != nil {
		fmt.Fprintf(t, "\t%s\n", k.Talos.What)
	}
	if k.Talos != nil && k.Talos.Sealed != "" {
		fmt.Fprintf(t, "\tin latchkey.yaml, if Talos made it: sources: [%s]\n", talosSource(k))
	}
	if k.Together != "" {
		fmt.Fprintf(t, "\t%s\n", k.Together)
	}
	if k.TPM2 != nil && k.TPM2.Sealed != "" {
		fmt.Fprintf(t, "\tsealed %s\n", k.TPM2.Sealed)
	}
	if k.TPM2 != nil {
		fmt.Fprintf(t, "\t%s\n", k.TPM2.What)
	}
}
