package eventlog

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"slices"
)

// Prints are the fingerprints of many entries: the first eight bytes of
// SHA-256 over each, sorted. An entry is somebody's choice, so that its own
// first bytes would tell nothing.
type Prints []byte

const printSize = 8

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
		have[[printSize]byte(padded(one))] = true
	}
	for one := range slices.Chunk(p, printSize) {
		if !have[[printSize]byte(padded(one))] {
			n++
		}
	}
	return n
}

func padded(b []byte) []byte { return append(bytes.Clone(b), make([]byte, printSize-len(b))...) }

// Types of EFI_SIGNATURE_LIST that hold a certificate or a digest: UEFI 2.10,
// section 32.4.1. GUIDs are as they lie in memory.
var (
	guidX509 = []byte("\xa1\x59\xc0\xa5\xe4\x94\xa7\x4a\x87\xb5\xab\x15\x5c\x2b\xf0\x72")
	digests  = [][]byte{
		[]byte("\x26\x16\xc4\xc1\x4c\x50\x92\x40\xac\xa9\x41\xf9\x36\x93\x43\x28"), // EFI_CERT_SHA256_GUID
		[]byte("\x07\x53\x3e\xff\xd0\x9f\xc9\x48\x85\xf1\x8a\xd5\x6c\x70\x1e\x01"), // EFI_CERT_SHA384_GUID
		[]byte("\xae\x0f\x3e\x09\xc4\xa6\x50\x4f\x9f\x1b\xd4\x1e\x2b\x89\xc1\x9a"), // EFI_CERT_SHA512_GUID
		[]byte("\x92\xa4\xd2\x3b\xc0\x96\x79\x40\xb4\x20\xfc\xf9\x8e\xf1\x03\xed"), // EFI_CERT_X509_SHA256_GUID
		[]byte("\x6e\x87\x76\x70\xc2\x80\xe6\x4e\xaa\xd2\x28\xb3\x49\xa6\x86\x5b"), // EFI_CERT_X509_SHA384_GUID
		[]byte("\x63\xbf\x6d\x44\x02\x25\xda\x4c\xbc\xfa\x24\x65\xd2\xb0\xfe\x9d"), // EFI_CERT_X509_SHA512_GUID
	}
)

// Sizes of EFI_SIGNATURE_LIST's head and of EFI_SIGNATURE_DATA's owner.
const (
	listHead  = 28
	ownerSize = 16
)

// ReadKeys reads signature lists, one after the other (UEFI 2.10, section
// 32.4.1). An entry of a kind that is not known counts as another, and a
// list whose sizes make no sense as one, with all that follows it.
func ReadKeys(b []byte) *Keys {
	k := &Keys{}
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
			case slices.ContainsFunc(digests, func(g []byte) bool { return bytes.Equal(g, kind) }) && len(hashes) < maxPrints:
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
