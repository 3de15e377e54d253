package history

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A WitnessKey is the public key with which a witness cosigns.
type WitnessKey struct {
	Name string
	id   uint32
	key  ed25519.PublicKey
}

// kindCosignature is the signature type of C2SP tlog-cosignature with
// Ed25519.
const kindCosignature = 4

// ParseWitnessKey reads a vkey of C2SP signed-note: name, key id in hex, and
// type and key in Base64, with plus signs between.
func ParseWitnessKey(text string) (k WitnessKey, err error) {
	name, rest, _ := strings.Cut(text, "+")
	id, encoded, ok := strings.Cut(rest, "+")
	raw, bad := base64.StdEncoding.DecodeString(encoded)
	if !ok || name == "" || strings.ContainsAny(name, " \t\r\n") || bad != nil || len(raw) != 1+ed25519.PublicKeySize {
		return k, fmt.Errorf("%.80q is no key of a witness: want NAME+ID+KEY, as its operator publishes it", text)
	}
	if raw[0] != kindCosignature {
		return k, fmt.Errorf("%.80q is a key of type %d; a witness that cosigns with Ed25519 has type %d", text, raw[0], kindCosignature)
	}
	k = WitnessKey{Name: name, id: witnessID(name, raw), key: raw[1:]}
	if said, err := strconv.ParseUint(id, 16, 32); err != nil || uint32(said) != k.id {
		return WitnessKey{}, fmt.Errorf("%.80q is no key of a witness: its id is not that of its name and key", text)
	}
	return k, nil
}

// witnessID is the key id of C2SP signed-note; kind and key are together.
func witnessID(name string, kindAndKey []byte) uint32 {
	sum := sha256.Sum256(append([]byte(name+"\n"), kindAndKey...))
	return binary.BigEndian.Uint32(sum[:4])
}

// A Behind is a witness that has seen another size than it was told.
type Behind struct{ Size uint64 }

func (b *Behind) Error() string { return fmt.Sprintf("the witness has seen %d events", b.Size) }

// ErrNotCosigned is an answer without a cosignature that verifies.
var ErrNotCosigned = errors.New("the witness did not cosign")

// cosignatureSize is key id, time in seconds, and signature.
const cosignatureSize = 4 + 8 + ed25519.SignatureSize

// Cosigned finds a line of the witness in what it sent, and the time that it
// says. Others' lines do not count.
func (k WitnessKey) Cosigned(checkpoint, lines string) (line string, at time.Time, err error) {
	body, _, _ := strings.Cut(checkpoint, "\n\n")
	for one := range strings.Lines(lines) {
		one = strings.TrimSuffix(one, "\n")
		name, encoded, ok := strings.Cut(strings.TrimPrefix(one, "— "), " ")
		raw, bad := base64.StdEncoding.DecodeString(encoded)
		if !ok || !strings.HasPrefix(one, "— ") || name != k.Name || bad != nil || len(raw) != cosignatureSize || binary.BigEndian.Uint32(raw) != k.id {
			continue
		}
		seconds := binary.BigEndian.Uint64(raw[4:])
		if ed25519.Verify(k.key, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s\n", seconds, body), raw[12:]) {
			return one + "\n", time.Unix(int64(seconds), 0).UTC(), nil
		}
	}
	return "", at, fmt.Errorf("%w: none of its lines verifies by the key of %s", ErrNotCosigned, k.Name)
}
