package luks2

import (
	"cmp"
	"encoding/json"
	"slices"
)

const (
	stripes = 4000 // the only count the specification, section 3.2.1, allows
	afSize  = keySize * stripes

	// maxMemoryKiB is 1 GiB, cryptsetup's default for argon2 and our cap.
	maxMemoryKiB = 1 << 20
	minMemoryKiB = 32 // CRYPT_PBKDF_MIN memory; also 8 blocks for each of 4 lanes
	maxTime      = 32
	maxCPUs      = 4
)

// keyslots judges all keyslots: specification, section 3.2.
func (j *judgment) keyslots(m *metadata, raw json.RawMessage, hdrSize int64) {
	all := j.object(raw, "keyslots", nil)
	for _, name := range sortedKeys(all) {
		k := j.keyslot(all[name], "keyslot "+name)
		k.ID = j.id(name, "keyslot-count", "keyslot")
		j.rule(k.areaOffset >= 2*hdrSize && k.areaSize <= m.keyslotsSize && k.areaOffset <= 2*hdrSize+m.keyslotsSize-k.areaSize,
			"keyslot-area", "keyslot %s: %d bytes at %d are not inside the keyslots area", name, k.areaSize, k.areaOffset)
		m.keyslots = append(m.keyslots, k)
	}
	slices.SortFunc(m.keyslots, func(a, b Keyslot) int { return a.ID - b.ID })
	j.overlaps(slices.Clone(m.keyslots))
}

// overlaps refuses areas that share bytes; it sorts its argument.
func (j *judgment) overlaps(byArea []Keyslot) {
	slices.SortFunc(byArea, func(a, b Keyslot) int { return cmp.Compare(a.areaOffset, b.areaOffset) })
	for i := 1; i < len(byArea); i++ {
		a, b := byArea[i-1], byArea[i]
		j.rule(a.areaOffset+a.areaSize <= b.areaOffset, "keyslot-overlap", "the areas of keyslots %d and %d overlap", a.ID, b.ID)
	}
}

func (j *judgment) keyslot(raw json.RawMessage, what string) (k Keyslot) {
	var kind struct {
		Type string `json:"type"`
	}
	if j.err == nil { // the kind first: another kind has other fields
		err := json.Unmarshal(raw, &kind)
		j.rule(err == nil && kind.Type == "luks2", "keyslot-type", "%s is not of type luks2", what)
	}

	f := j.object(raw, what, []string{"type", "key_size", "af", "area", "kdf"}, "priority")
	j.oneOf(f["type"], "keyslot-type", what+" type", "luks2")
	j.number(f["key_size"], "keyslot-key-size", what+" key_size", keySize, keySize)
	k.Priority = 1
	if f["priority"] != nil {
		k.Priority = j.number(f["priority"], "keyslot-priority", what+" priority", 0, 2)
	}

	af := j.object(f["af"], what+" af", []string{"type", "stripes", "hash"})
	j.oneOf(af["type"], "keyslot-af", what+" af type", "luks1")
	j.number(af["stripes"], "keyslot-af", what+" stripes", stripes, stripes)
	k.AFHash = j.oneOf(af["hash"], "keyslot-af", what+" af hash", "sha256", "sha512")
	area := j.object(f["area"], what+" area", []string{"type", "offset", "size", "encryption", "key_size"})
	j.oneOf(area["type"], "keyslot-area", what+" area type", "raw")
	j.oneOf(area["encryption"], "keyslot-cipher", what+" cipher", Cipher)
	j.number(area["key_size"], "keyslot-cipher", what+" cipher key size", keySize, keySize)
	k.areaOffset = j.decimal(area["offset"], "keyslot-area", what+" area offset")
	k.areaSize = j.decimal(area["size"], "keyslot-area", what+" area size")
	j.rule(k.areaOffset%binSize == 0 && k.areaSize >= afSize, "keyslot-area", "%s: area of %d bytes at %d", what, k.areaSize, k.areaOffset)
	k.KDF = j.kdf(f["kdf"], what+" kdf")
	return k
}

func (j *judgment) kdf(raw json.RawMessage, what string) (k KDF) {
	k.Type = j.text(j.object(raw, what, nil)["type"], what+" type")
	switch k.Type {
	case "pbkdf2":
		f := j.object(raw, what, []string{"type", "hash", "iterations", "salt"})
		k.Hash = j.oneOf(f["hash"], "kdf-hash", what+" hash", "sha256", "sha512")
		k.Iterations = j.number(f["iterations"], "kdf-iterations", what+" iterations", minIterations, maxIterations)
		k.salt = j.base64(f["salt"], "kdf-salt", what+" salt", saltSize)
	case "argon2i", "argon2id":
		f := j.object(raw, what, []string{"type", "time", "memory", "cpus", "salt"})
		k.Time = j.number(f["time"], "kdf-time", what+" time", 1, maxTime)
		k.MemoryKiB = j.number(f["memory"], "kdf-memory", what+" memory", minMemoryKiB, maxMemoryKiB)
		k.CPUs = j.number(f["cpus"], "kdf-cpus", what+" cpus", 1, maxCPUs)
		k.salt = j.base64(f["salt"], "kdf-salt", what+" salt", saltSize)
	default:
		j.rule(false, "kdf-type", "%s is %q", what, k.Type)
	}
	return k
}
