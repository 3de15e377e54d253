package eventlog

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
)

// Prints are the fingerprints of many entries: the first eight bytes of
// SHA-256 over each, sorted. An entry is somebody's choice, so that its own
// first bytes would tell nothing.
type Prints []byte

const printSize = 8

// MarshalText implements encoding.TextMarshaler.
func (p Prints) MarshalText() ([]byte, error) { return base64.StdEncoding.AppendEncode(nil, p), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Prints) UnmarshalText(b []byte) (err error) {
	*p, err = base64.StdEncoding.AppendDecode(nil, b)
	if err == nil && len(*p)%printSize != 0 {
		err = errors.New("reading fingerprints: they are cut short")
	}
	return err
}

// printsOf makes prints of entries.
func printsOf(entries [][]byte) Prints {
	var all [][]byte
	for _, e := range entries {
		sum := sha256.Sum256(e)
		all = append(all, sum[:printSize])
	}
	slices.SortFunc(all, bytes.Compare)
	return slices.Concat(slices.CompactFunc(all, bytes.Equal)...)
}

// Len is how many there are.
func (p Prints) Len() int { return len(p) / printSize }

// Without counts those of p that o lacks.
func (p Prints) Without(o Prints) (n int) {
	have := map[[printSize]byte]bool{}
	for one := range slices.Chunk(o, printSize) {
		have[[printSize]byte(one)] = true
	}
	for one := range slices.Chunk(p, printSize) {
		if !have[[printSize]byte(one)] {
			n++
		}
	}
	return n
}

// guidX509 is EFI_CERT_X509_GUID, as it lies in memory: UEFI 2.10, section
// 32.4.1.
var guidX509 = []byte("\xa1\x59\xc0\xa5\xe4\x94\xa7\x4a\x87\xb5\xab\x15\x5c\x2b\xf0\x72")

// Sizes of EFI_SIGNATURE_LIST's head and of EFI_SIGNATURE_DATA's owner.
const (
	listHead  = 28
	ownerSize = 16
)

// ReadKeys reads signature lists, one after the other (UEFI 2.10, section
// 32.4.1). A list whose sizes make no sense counts as one entry that cannot
// be understood, with all that follows it.
func ReadKeys(b []byte) *Keys {
	k := &Keys{SHA256: sha256.Sum256(b)}
	var hashes [][]byte
	for len(b) > 0 {
		kind, entries, rest, ok := cutList(b)
		if !ok {
			k.Others++
			break
		}
		b = rest
		for _, e := range entries {
			switch {
			case bytes.Equal(kind, guidX509) && len(k.Certificates) < maxCertificates:
				k.Certificates = append(k.Certificates, certificateOf(e))
			case len(hashes) < maxPrints:
				hashes = append(hashes, slices.Concat(kind, e))
			default:
				k.Others++
			}
		}
	}
	k.Hashes = printsOf(hashes)
	return k
}

// cutList takes one EFI_SIGNATURE_LIST off b, and gives its entries without
// their owners.
func cutList(b []byte) (kind []byte, entries [][]byte, rest []byte, ok bool) {
	if len(b) < listHead {
		return nil, nil, nil, false
	}
	size, head, each := binary.LittleEndian.Uint32(b[16:]), binary.LittleEndian.Uint32(b[20:]), binary.LittleEndian.Uint32(b[24:])
	if uint64(size) > uint64(len(b)) || uint64(size) < listHead+uint64(head) || each < ownerSize {
		return nil, nil, nil, false
	}
	list := b[listHead+head : size]
	if len(list)%int(each) != 0 {
		return nil, nil, nil, false
	}
	for e := range slices.Chunk(list, int(each)) {
		entries = append(entries, e[ownerSize:])
	}
	return b[:16], entries, b[size:], true
}

// certificateOf names a certificate: by what it calls itself, if it can be
// read at all.
func certificateOf(der []byte) Certificate {
	c := Certificate{SHA256: sha256.Sum256(der)}
	if w, ok := wellKnown[c.SHA256]; ok {
		c.Name = w.Name
		return c
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		c.Name = "unreadable certificate"
		return c
	}
	c.Name = clean(cert.Subject.CommonName, 100)
	if c.Name == "" {
		c.Name = clean(cert.Subject.String(), 100)
	}
	return c
}
