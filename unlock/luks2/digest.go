package luks2

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"latchkey/internal/secret"
)

// A digest verifies the key of keyslots: specification, section 3.4.
type digest struct {
	id         int
	keyslots   []int // sorted
	hash       string
	iterations int
	salt       []byte
	value      []byte
	text       json.RawMessage // as it stands in a LUKS2 header
}

// digestSizes are how long a digest may be: as long as its hash, or as
// long as in LUKS1, for a volume that was one (cryptsetup convert;
// LUKS_DIGESTSIZE in lib/luks1/luks.h).
var digestSizes = map[string][]int{
	"sha256":    {32, digestSize1},
	"sha512":    {64, digestSize1},
	"sha1":      {digestSize1},
	"ripemd160": {digestSize1},
}

// digests judges the one digest of the segment, and what all digests share.
// A digest of no segment belongs to keyslots that were added by
// "luksAddKey --unbound"; they are skipped.
func (j *judgment) digests(m *metadata, raw json.RawMessage) {
	all := j.object(raw, "digests", nil)
	var owned []int
	bound := 0
	for _, name := range sortedKeys(all) {
		d, segments := j.digestLinks(m, name, all[name])
		owned = append(owned, d.keyslots...)
		if len(segments) == 0 {
			m.unbound = append(m.unbound, d)
			continue
		}

		bound++
		j.rule(len(segments) == 1 && segments[0] == 0, "digest-binding", "digest %s is for the segments %d", name, segments)
		j.digest(&d)
		m.digest = d
	}

	j.rule(bound == 1, "digest-count", "%d digests are for the segment, accepted is one", bound)
	slices.Sort(owned)
	j.rule(len(slices.Compact(slices.Clone(owned))) == len(owned), "digest-binding", "the digests name the keyslots %d: one of them twice", owned)
	for i, s := range m.slots {
		if s.skip == nil && !slices.Contains(m.digest.keyslots, s.ID) {
			m.slots[i].skip = reject("keyslot-unbound", "keyslot %d is not for this volume's payload", s.ID)
		}
	}
}

// digestLinks reads which keyslots and segments a digest is for.
func (j *judgment) digestLinks(m *metadata, name string, raw json.RawMessage) (d digest, segments []int) {
	f := j.object(raw, "digest "+name, nil)
	d = digest{id: j.id(name, "digest-count", "digest"), text: raw}
	d.keyslots = j.ids(f["keyslots"], "digest-binding", "digest keyslots")
	slices.Sort(d.keyslots)
	for _, id := range d.keyslots {
		j.rule(m.slot(id) >= 0, "digest-binding", "digest %s names keyslot %d, which is not there", name, id)
	}
	return d, j.ids(f["segments"], "digest-binding", "digest segments")
}

// digest judges the digest that verifies the volume key.
func (j *judgment) digest(d *digest) {
	f := j.object(d.text, "digest", []string{"type", "keyslots", "segments", "hash", "iterations", "salt", "digest"})
	j.oneOf(f["type"], "digest-type", "digest type", "pbkdf2")
	d.hash = j.hash(j.text(f["hash"], "digest hash"), "digest-hash", "digest hash")
	d.iterations = j.number(f["iterations"], "digest-iterations", "digest iterations", minIterations, maxIterations)
	d.salt = j.base64(f["salt"], "digest-salt", "digest salt", saltSize)
	d.value = j.base64(f["digest"], "digest-length", "digest", digestSizes[d.hash]...)
}

func (d digest) verifies(key secret.Bytes) bool {
	sum := pbkdf2(newHash(d.hash), key, d.salt, d.iterations, len(d.value))
	return subtle.ConstantTimeCompare(sum.Reveal(), d.value) == 1
}

// newDigest is the digest of a new volume, of no keyslots yet.
func newDigest(volume secret.Bytes) (digest, error) {
	d := digest{hash: "sha256", iterations: minIterations, salt: make([]byte, saltSize)}
	rand.Read(d.salt)
	// The volume key is random: more iterations would protect nothing.
	d.value = pbkdf2(sha256.New, volume, d.salt, d.iterations, sha256.Size).Reveal()
	var err error
	d.text, err = json.Marshal(jsonDigest{"pbkdf2", []string{}, []string{"0"}, d.hash, d.iterations, d.salt, d.value})
	return d, err
}

// disown takes a removed keyslot out of the digests, and a digest that is
// then for nothing out of the header, as cryptsetup does (LUKS2_digest_assign
// in lib/luks2/luks2_digest.c).
func (m *metadata) disown(slot int) {
	without := func(ids []int) []int {
		return slices.DeleteFunc(slices.Clone(ids), func(id int) bool { return id == slot })
	}
	m.digest.keyslots = without(m.digest.keyslots)
	var left []digest
	for _, d := range m.unbound {
		if d.keyslots = without(d.keyslots); len(d.keyslots) > 0 {
			left = append(left, d)
		}
	}
	m.unbound = left
}

// withKeyslots is the JSON text of an object whose list "keyslots" is
// replaced; all else stays as it is.
func withKeyslots(text json.RawMessage, ids []int) (json.RawMessage, error) {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = strconv.Itoa(id)
	}
	list, err := json.Marshal(names)
	if err != nil {
		return nil, err
	}

	d := json.NewDecoder(bytes.NewReader(text))
	d.Token() // the brace
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("rewriting a list of keyslots: %w", err)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, fmt.Errorf("rewriting a list of keyslots: %w", err)
		}
		if key == "keyslots" {
			end := int(d.InputOffset())
			return slices.Concat(text[:end-len(value)], list, text[end:]), nil
		}
	}

	return nil, errors.New("rewriting a list of keyslots: there is none")
}
