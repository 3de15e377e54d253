package kms

import (
	"crypto/ed25519"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// A NodeID names a node: SHA-256 of its EK's TPMT_PUBLIC.
type NodeID [32]byte

// NodeIDOf is the id of the node that has this EK.
func NodeIDOf(ekPublic []byte) NodeID { return sha256.Sum256(ekPublic) }

func (n NodeID) String() string { return hex.EncodeToString(n[:]) }

// ParseNodeID reads 64 hex digits.
func ParseNodeID(s string) (id NodeID, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("reading node id %q: not 64 hex digits", s)
	}
	return NodeID(b), nil
}

//go:embed words.txt
var wordText string

// wordList is split once: servers name a node in each line of their log.
var wordList = sync.OnceValue(func() []string { return strings.Fields(wordText) })

// Words is the node's fingerprint for people: six words of a list of 2,048,
// from SHA-256("lk1/words" ‖ id). The same words stand on the node's console
// and in the KMS.
func (n NodeID) Words() string {
	list := wordList()
	sum := hash([]byte("lk1/words"), n[:])
	words := make([]string, 6)
	for i := range words {
		v := 0
		for bit := 11 * i; bit < 11*(i+1); bit++ {
			v = v<<1 | int(sum[bit/8]>>(7-bit%8)&1)
		}
		words[i] = list[v]
	}
	return strings.Join(words, " ")
}

// AreWords tells whether a text is nothing but words of the list that node ids
// are shown by, so that a machine may be known by it.
func AreWords(text string) bool {
	list := wordList()
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return r == ' ' || r == '-' || r == '\t' })
	return len(words) > 0 && !slices.ContainsFunc(words, func(w string) bool { return !slices.Contains(list, w) })
}

// A Pin is the Ed25519 public key of a KMS.
type Pin [ed25519.PublicKeySize]byte

// pinPrefix names protocol and key type in a plan.
const pinPrefix = "lk1:"

// ParsePin reads "lk1:" and 32 bytes of standard base64.
func ParsePin(s string) (p Pin, err error) {
	text, ok := strings.CutPrefix(s, pinPrefix)
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if !ok || err != nil || len(b) != len(p) {
		return p, fmt.Errorf("reading KMS key %q: not %s and 32 bytes in base64", s, pinPrefix)
	}
	if p = Pin(b); p.String() != s { // base64 skips line ends
		return Pin{}, fmt.Errorf("reading KMS key %q: not %s and 32 bytes in base64", s, pinPrefix)
	}
	if p.smallOrder() {
		return Pin{}, fmt.Errorf("reading KMS key %q: anyone can sign for this key (a point of small order); use what 'latchkey-kms trust' prints", s)
	}
	return p, nil
}

// smallOrder tells whether p is one of the points whose order divides eight,
// the sign of x left out: for them, and for nobody who makes keys, a
// signature without a private key verifies (RFC 8032, section 8.4, and
// "Taming the many EdDSAs", table 6, encodings that are not canonical too).
func (p Pin) smallOrder() bool {
	p[31] &= 0x7f
	prime := Pin{0: 0xed, 31: 0x7f}
	for i := 1; i < 31; i++ {
		prime[i] = 0xff
	}
	minusOne, plusOne := prime, prime
	minusOne[0]--
	plusOne[0]++
	for _, y := range []Pin{{}, {1}, minusOne, prime, plusOne, orderEight[0], orderEight[1]} {
		if p == y {
			return true
		}
	}
	return false
}

// orderEight are the y coordinates of the points of order eight.
var orderEight = [2]Pin{
	{0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05},
	{0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a},
}

func (p Pin) String() string { return pinPrefix + base64.StdEncoding.EncodeToString(p[:]) }

// A KeyID names a KMS key in M1.
type KeyID [8]byte

// ID is the first bytes of the key's hash.
func (p Pin) ID() KeyID {
	sum := sha256.Sum256(p[:])
	return KeyID(sum[:8])
}

// A UUID names a LUKS volume.
type UUID [16]byte

// ParseUUID reads the form 8-4-4-4-12 hex digits.
func ParseUUID(s string) (u UUID, err error) {
	bare := strings.ReplaceAll(s, "-", "")
	b, err := hex.DecodeString(bare)
	if err != nil || len(b) != len(u) {
		return u, fmt.Errorf("reading UUID %q: not of the form 8-4-4-4-12 hex digits", s)
	}
	if u = UUID(b); u.String() != strings.ToLower(s) {
		return u, fmt.Errorf("reading UUID %q: not of the form 8-4-4-4-12 hex digits", s)
	}
	if u == (UUID{}) { // RFC 9562, 5.9; firmware that was never given one
		return u, fmt.Errorf("reading UUID %q: zeros name nothing", s)
	}
	return u, nil
}

// Named tells whether a UUID was made of a name (RFC 9562, sections 5.3 and
// 5.5): whoever has the name has the UUID. Kairos makes one of a partition's
// label, the same on every machine.
func (u UUID) Named() bool { return u[6]>>4 == 3 || u[6]>>4 == 5 }

func (u UUID) String() string {
	s := hex.EncodeToString(u[:])
	return strings.Join([]string{s[:8], s[8:12], s[12:16], s[16:20], s[20:]}, "-")
}

// MarshalText makes a UUID readable in JSON.
func (u UUID) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (u *UUID) UnmarshalText(b []byte) (err error) {
	*u, err = ParseUUID(string(b))
	return err
}

// MarshalText makes a NodeID readable in JSON.
func (n NodeID) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (n *NodeID) UnmarshalText(b []byte) (err error) {
	*n, err = ParseNodeID(string(b))
	return err
}
