package luks2

import (
	"cmp"
	"encoding/json"
	"slices"

	"latchkey/internal/order"
)

const (
	stripes = 4000 // the only count the specification, section 3.2.1, allows

	// What argon2 may want: 4 GiB and 4 lanes are cryptsetup's own limits
	// (crypt_pbkdf_get_limits in lib/utils_pbkdf.c). Passes have none there;
	// the memory written in all passes, 128 GiB, is about two minutes of a
	// small machine.
	minMemoryKiB = 32 // 8 blocks for each of 4 lanes, which argon2 needs
	maxMemoryKiB = 4 << 20
	maxWorkKiB   = 128 << 20 // passes times memory
	maxTime      = maxWorkKiB / minMemoryKiB
	maxCPUs      = 4
)

// A slot is a keyslot as it stands in the header, whether it can be tried
// or not.
type slot struct {
	Keyslot
	skip *Rejected       // why it is not tried
	text json.RawMessage // as it stands in a LUKS2 header
}

// slot finds a keyslot by its ID; -1 if it is not there.
func (m *metadata) slot(id int) int {
	return slices.IndexFunc(m.slots, func(s slot) bool { return s.ID == id })
}

// keyslots judges all keyslots: specification, section 3.2. Rules for areas
// hold for all of them, because a new keyslot must not be put over an old
// one. What else is wrong with a keyslot is its own affair: it is skipped.
func (j *judgment) keyslots(m *metadata, raw json.RawMessage, hdrSize int64) {
	all := j.object(raw, "keyslots", nil)
	for _, name := range sortedKeys(all) {
		own := &judgment{rules: j.rules}
		s := slot{Keyslot: own.keyslot(all[name], "keyslot "+name, m.segment.Cipher), text: all[name]}
		s.skip = own.err
		s.ID = j.id(name, "keyslot-count", "keyslot")
		s.areaOffset, s.areaSize = j.area(all[name], "keyslot "+name)
		j.rule(s.areaOffset >= 2*hdrSize && s.areaSize <= m.keyslotsSize && s.areaOffset <= 2*hdrSize+m.keyslotsSize-s.areaSize,
			"keyslot-area", "keyslot %s: %d bytes at %d are not inside the keyslots area", name, s.areaSize, s.areaOffset)
		m.slots = append(m.slots, s)
	}
	order.By(m.slots, func(a, b slot) int { return a.ID - b.ID })
	j.overlaps(slices.Clone(m.slots))
}

// area is where a keyslot of any type lies.
func (j *judgment) area(raw json.RawMessage, what string) (offset, size int64) {
	area := j.object(j.object(raw, what, nil)["area"], what+" area", nil)
	offset = j.decimal(area["offset"], "keyslot-area", what+" area offset")
	size = j.decimal(area["size"], "keyslot-area", what+" area size")
	j.rule(offset%binSize == 0 && size > 0, "keyslot-area", "%s: area of %d bytes at %d", what, size, offset)
	return offset, size
}

// overlaps refuses areas that share bytes; it sorts its argument.
func (j *judgment) overlaps(byArea []slot) {
	order.By(byArea, func(a, b slot) int { return cmp.Compare(a.areaOffset, b.areaOffset) })
	for i := 1; i < len(byArea); i++ {
		a, b := byArea[i-1], byArea[i]
		j.rule(a.areaOffset+a.areaSize <= b.areaOffset, "keyslot-overlap", "the areas of keyslots %d and %d overlap", a.ID, b.ID)
	}
}

// keyslot judges one keyslot by itself.
func (j *judgment) keyslot(raw json.RawMessage, what, cipher string) (k Keyslot) {
	var kind struct {
		Type string `json:"type"`
	}
	if j.err == nil { // the kind first: another kind has other fields
		err := json.Unmarshal(raw, &kind)
		j.rule(err == nil && kind.Type == "luks2", "keyslot-type", "%s is not of type luks2", what)
	}

	f := j.object(raw, what, []string{"type", "key_size", "af", "area", "kdf"}, "priority")
	j.oneOf(f["type"], "keyslot-type", what+" type", "luks2")
	k.KeyBytes = j.keySize(cipher, j.number(f["key_size"], "keyslot-key-size", what+" key_size", 1, keySize), "keyslot-key-size", what+" key_size")
	k.Priority = 1
	if f["priority"] != nil {
		k.Priority = j.number(f["priority"], "keyslot-priority", what+" priority", 0, 2)
	}

	af := j.object(f["af"], what+" af", []string{"type", "stripes", "hash"})
	j.oneOf(af["type"], "keyslot-af", what+" af type", "luks1")
	j.number(af["stripes"], "keyslot-af", what+" stripes", stripes, stripes)
	k.AFHash = j.hash(j.text(af["hash"], what+" af hash"), "keyslot-af", what+" af hash")
	area := j.object(f["area"], what+" area", []string{"type", "offset", "size", "encryption", "key_size"})
	j.oneOf(area["type"], "keyslot-area", what+" area type", "raw")
	k.areaCipher = j.cipher(j.text(area["encryption"], what+" cipher"), "keyslot-cipher", what+" cipher")
	k.areaKeyBytes = j.keySize(k.areaCipher, j.number(area["key_size"], "keyslot-cipher", what+" cipher key size", 1, keySize), "keyslot-cipher", what+" cipher key size")
	size := j.decimal(area["size"], "keyslot-area", what+" area size")
	j.rule(size >= k.cryptBytes(), "keyslot-area", "%s: an area of %d bytes is too small for its stripes", what, size)
	k.KDF = j.kdf(f["kdf"], what+" kdf")
	return k
}

// stripeBytes is how much of its area a keyslot fills.
func (k Keyslot) stripeBytes() int64 { return int64(k.KeyBytes) * stripes }

// cryptBytes is the same in whole sectors, as they are encrypted
// (AF_split_sectors in cryptsetup's lib/luks1/af.c): a key of 192 bits does
// not fill its last one.
func (k Keyslot) cryptBytes() int64 { return (k.stripeBytes() + ivSector - 1) / ivSector * ivSector }

func (j *judgment) kdf(raw json.RawMessage, what string) (k KDF) {
	k.Type = j.text(j.object(raw, what, nil)["type"], what+" type")
	switch k.Type {
	case "pbkdf2":
		f := j.object(raw, what, []string{"type", "hash", "iterations", "salt"})
		k.Hash = j.hash(j.text(f["hash"], what+" hash"), "kdf-hash", what+" hash")
		k.Iterations = j.number(f["iterations"], "kdf-iterations", what+" iterations", minIterations, maxIterations)
		k.salt = j.base64(f["salt"], "kdf-salt", what+" salt", saltSize)
	case "argon2i", "argon2id":
		f := j.object(raw, what, []string{"type", "time", "memory", "cpus", "salt"})
		k.Time = j.number(f["time"], "kdf-time", what+" time", 1, maxTime)
		k.MemoryKiB = j.number(f["memory"], "kdf-memory", what+" memory", minMemoryKiB, maxMemoryKiB)
		j.rule(int64(k.Time)*int64(k.MemoryKiB) <= maxWorkKiB, "kdf-time", "%s: %d passes over %d KiB are more than %d GiB", what, k.Time, k.MemoryKiB, maxWorkKiB>>20)
		k.CPUs = j.number(f["cpus"], "kdf-cpus", what+" cpus", 1, maxCPUs)
		k.salt = j.base64(f["salt"], "kdf-salt", what+" salt", saltSize)
	default:
		j.rule(false, "kdf-type", "%s is %q", what, k.Type)
	}
	return k
}
