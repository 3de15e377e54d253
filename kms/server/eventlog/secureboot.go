package eventlog

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"strconv"
	"strings"

	"github.com/google/go-eventlog/tcg"
)

// Vendors of variables: UEFI 2.10, sections 3.3 and 32.6.1; shim's.
const (
	globalVariable = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
	imageSecurity  = "d719b2cb-3d3a-4596-a3bc-dad00e67656f"
	shimLock       = "605dab50-e046-4300-abb6-3dd810dd8b23"
)

// separator is what firmware extends PCRs 0 to 7 with when its own part is
// over. An event's type is not measured and its data may be altered, so that
// only the digest tells which event is one.
var separator = sha256.Sum256(make([]byte, 4))

// secureBoot reads PCR 7: PC Client Platform Firmware Profile 1.06, section
// 3.3.4.8. Up to the separator it is the firmware's: only that counts as the
// state of Secure Boot, and only if none of it is hidden. Whatever runs later
// can extend PCR 7 with anything.
func (r *reader) secureBoot(e tcg.Event) bool {
	switch {
	case [32]byte(e.Digest) == separator && r.secured:
		r.s.oddly("PCR 7 has a second separator")
		return false
	case [32]byte(e.Digest) == separator:
		r.secured = true
		return true
	case r.secured:
		return r.authority(e)
	case !e.DigestVerified():
		r.s.oddly("PCR 7: event %d is not what was measured", e.Num())
		r.hidden = true
		return false
	}
	v, err := tcg.ParseUEFIVariableData(bytes.NewReader(e.Data))
	if err != nil {
		r.s.oddly("PCR 7: %s", cmp.Or(text(e.Data), "an event that says nothing")) // a debugger, or no protection from DMA
		return false
	}
	return r.variable(e, v)
}

// variable reads one that says what Secure Boot goes by.
func (r *reader) variable(e tcg.Event, v tcg.UEFIVariableData) bool {
	name, vendor := v.VarName(), v.Header.VariableName.String()
	to := map[string]**Keys{"PK": &r.s.PK, "KEK": &r.s.KEK, "db": &r.s.DB, "dbx": &r.s.DBX}[name]
	global := vendor == globalVariable && (name == "SecureBoot" || name == "PK" || name == "KEK")
	if !global && !(vendor == imageSecurity && (name == "db" || name == "dbx")) {
		return false
	}
	if before, twice := r.seen[name]; twice {
		if before != string(e.Digest) {
			r.s.oddly("PCR 7: %s was measured twice, with other contents", name)
			r.hidden = true
		}
		return false
	}

	r.seen[name] = string(e.Digest)
	if to != nil {
		*to = ReadKeys(v.VariableData)
		return true
	}
	r.s.SecureBoot = Off
	if bytes.Equal(v.VariableData, []byte{1}) {
		r.s.SecureBoot = On
	}
	return true
}

// authority reads by what a program's signature was found to hold. Old shims
// log a byte too many (rhboot/shim, commit 8a27a4809a6a).
func (r *reader) authority(e tcg.Event) bool {
	data := e.Data
	if !e.DigestVerified() {
		if len(data) == 0 || sha256.Sum256(data[:len(data)-1]) != [32]byte(e.Digest) {
			return false
		}
		data = data[:len(data)-1]
	}
	v, err := tcg.ParseUEFIVariableData(bytes.NewReader(data))
	if err != nil {
		return false
	}
	name, vendor := clean(v.VarName(), 32), v.Header.VariableName.String()
	if vendor == shimLock && name == "SbatLevel" {
		return r.sbat(v.VariableData)
	}

	der := v.VariableData
	if _, err := x509.ParseCertificate(der); err != nil && len(der) > ownerSize {
		der = der[ownerSize:] // EFI_SIGNATURE_DATA: the owner is in front
	}
	if _, err := x509.ParseCertificate(der); err != nil || len(r.s.Signers) == maxSigners {
		return false // an entry of db that is a digest, or a list of shim's
	}
	r.s.Signers = append(r.s.Signers, Signer{name, certificateOf(der)})
	return true
}

// sbat reads shim's level: lines of component,generation (SBAT.md of
// rhboot/shim).
func (r *reader) sbat(data []byte) bool {
	levels := map[string]int{}
	for line := range strings.Lines(text(data)) {
		f := strings.Split(strings.TrimSpace(line), ",")
		n, err := strconv.Atoi(f[min(1, len(f)-1)])
		if len(f) < 2 || err != nil || len(levels) == maxMeasured {
			return false
		}
		levels[clean(f[0], 64)] = n
	}
	r.s.SBAT = levels
	return true
}
