package kms

import "bytes"

// An Outcome is what became of a volume.
type Outcome byte

const (
	OpenedActive Outcome = iota + 1
	OpenedStaged         // the staged secret has a keyslot and was seen to open it: commit
	NotOpened
)

// A Result reports one volume.
type Result struct {
	UUID    UUID
	Outcome Outcome
	SeqID   uint64 // of the header after the boot's changes
	MAC     []byte // volume-key MAC if the KMS had none, else empty
}

// Report is M5, node to KMS.
type Report struct {
	Fresh  [32]byte // mixed into k_m5
	Cookie []byte   // from M4
	Sealed []byte   // by k_m5
}

// Encode is the message's bytes.
func (m *Report) Encode() []byte {
	var w Writer
	w.Field(m.Fresh[:])
	w.Field(m.Cookie)
	w.Field(m.Sealed)
	return w.Bytes()
}

// ParseReport decodes M5, still sealed.
func ParseReport(b []byte) (*Report, error) {
	r, m := NewReader(b), &Report{}
	m.Fresh = [32]byte(r.Exact("fresh bytes", 32))
	m.Cookie = bytes.Clone(r.Field("report cookie", MaxReportCookie))
	m.Sealed = bytes.Clone(r.Field("sealed report", 4096))
	return m, r.End()
}

func encodeResults(results []Result) []byte {
	var list, w Writer
	for _, v := range results {
		list.Field(v.UUID[:])
		list.Byte(byte(v.Outcome))
		list.Uint64(v.SeqID)
		list.Field(v.MAC)
	}
	w.Field(list.Bytes())
	return w.Bytes()
}

// ParseResults decodes the plain text of M5.
func ParseResults(b []byte) (results []Result, err error) {
	r := NewReader(b)
	r.List("results", MaxVolumes, func(r *Reader) {
		v := Result{UUID: UUID(r.Exact("UUID", 16)), Outcome: Outcome(r.Byte("outcome")), SeqID: r.Uint64("seqid")}
		v.MAC = bytes.Clone(r.Maybe32("volume-key MAC"))
		if v.Outcome < OpenedActive || v.Outcome > NotOpened {
			r.fail("outcome %d", v.Outcome)
		}
		results = append(results, v)
	})
	return results, r.End()
}
