package luks2_test

import "strings"

// A row changes the JSON text of an accepted header: old, a regular
// expression if it holds one of \^$*, becomes new. code is the rule that is
// then broken, or "" for a row that stays just inside the rules.
// A row with "skip:" before the code costs that keyslot only.
type row struct{ name, code, old, new string }

const (
	kdf     = `"kdf":\{[^}]*\}`
	mode    = `"encryption":"aes-xts-plain64","sector_size"`
	area    = `"encryption":"aes-xts-plain64","key_size":64`
	payload = `"offset":"1048576","size":"dynamic"`
	config  = `"config":{`
)

// slot1 is a second keyslot, put before the first.
func slot1(offset string) string {
	return `"keyslots":{"1":{"type":"luks2","key_size":64,"af":{"type":"luks1","stripes":4000,"hash":"sha256"},"area":{"type":"raw","offset":"` + offset +
		`","size":"258048","encryption":"aes-xts-plain64","key_size":64},"kdf":{"type":"pbkdf2","hash":"sha256","iterations":1000,"salt":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}},`
}

func argon(fields string) string {
	return `"kdf":{"type":"argon2id",` + fields + `,"salt":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}`
}

// segmentRows break the rules for the one segment.
func segmentRows() []row {
	return []row{
		{"null-cipher", "segment-cipher", mode, `"encryption":"cipher_null-ecb","sector_size"`},
		{"adiantum", "segment-cipher", mode, `"encryption":"xchacha12,aes-adiantum-plain64","sector_size"`},
		{"cipher-with-table-words", "segment-cipher", mode, `"encryption":"aes-xts-plain64 0 0","sector_size"`},
		{"cipher-case", "segment-cipher", mode, `"encryption":"AES-xts-plain64","sector_size"`},
		{"sector-1024", "", `"sector_size":512`, `"sector_size":1024`},
		{"sector-2048", "", `"sector_size":512`, `"sector_size":2048`},
		{"sector-1536", "segment-sector", `"sector_size":512`, `"sector_size":1536`},
		{"sector-8192", "segment-sector", `"sector_size":512`, `"sector_size":8192`},
		{"aes-cbc", "segment-cipher", mode, `"encryption":"aes-cbc-essiv:sha256","sector_size"`},
		{"sector-4096", "", `"sector_size":512`, `"sector_size":4096`},
		{"sector-zero", "segment-sector", `"sector_size":512`, `"sector_size":0`},
		{"sector-text", "segment-sector", `"sector_size":512`, `"sector_size":"512"`},
		{"sector-fraction", "segment-sector", `"sector_size":512`, `"sector_size":512.0`},
		{"iv-tweak", "segment-iv", `"iv_tweak":"0"`, `"iv_tweak":"8"`},
		{"integrity", "segment-integrity", `"iv_tweak"`, `"integrity":{"type":"hmac(sha256)"},"iv_tweak"`},
		{"segment-linear", "segment-type", `"type":"crypt"`, `"type":"linear"`},
		{"real-linear-segment", "segment-type", `"segments":\{"0":\{[^}]*\}\}`, `"segments":{"0":{"type":"linear","offset":"1048576","size":"dynamic"}}`},
		{"missing-sector-size", "json-field", `,"sector_size":512`, ``},
		{"two-segments", "segment-count", `"segments":{`, `"segments":{"1":{"type":"linear","offset":"0","size":"512"},`},
		{"segment-1", "segment-count", `"segments":{"0"`, `"segments":{"1"`},
		{"no-segment", "segment-count", `"segments":\{"0":\{[^}]*\}\}`, `"segments":{}`},
		{"backup-segment", "segment-flags", `"iv_tweak"`, `"flags":["backup-previous"],"iv_tweak"`},
		{"in-reencryption", "segment-flags", `"iv_tweak"`, `"flags":["in-reencryption"],"iv_tweak"`},
		{"flags-empty", "", `"iv_tweak"`, `"flags":[],"iv_tweak"`},
		{"fixed-size", "", payload, `"offset":"1048576","size":"1048576"`},
		{"past-end", "segment-range", payload, `"offset":"1048576","size":"1049088"`},
		{"size-overflow", "segment-range", payload, `"offset":"1048576","size":"999999999999999999"`},
		{"size-zero", "segment-range", payload, `"offset":"1048576","size":"0"`},
		{"size-negative", "segment-range", payload, `"offset":"1048576","size":"-512"`},
		{"size-octal", "segment-range", payload, `"offset":"1048576","size":"0512"`},
		{"offset-past-end", "segment-range", payload, `"offset":"2097152","size":"dynamic"`},
		{"offset-number", "json-field", payload, `"offset":1048576,"size":"dynamic"`},
		{"offset-text", "segment-range", payload, `"offset":"x1048576","size":"dynamic"`},
		{"offset-odd", "segment-align", payload, `"offset":"1048577","size":"dynamic"`},
		{"size-odd", "segment-align", payload, `"offset":"1048576","size":"513"`},
		{"segment-over-keyslots", "segment-overlap", payload, `"offset":"1048064","size":"dynamic"`},
		{"segment-over-header", "segment-detached", payload, `"offset":"0","size":"dynamic"`},
	}
}

// configRows break the rules for sizes, flags and requirements.
func configRows() []row {
	return []row{
		{"requirements", "requirements", config, config + `"requirements":{"mandatory":["online-reencrypt-v2"]},`},
		{"requirements-unknown-kind", "json-field", config, config + `"requirements":{"optional":["x"]},`},
		{"requirements-empty", "", config, config + `"requirements":{"mandatory":[]},`},
		{"requirements-null", "json-field", config, config + `"requirements":null,`},
		{"requirements-text", "json-field", config, config + `"requirements":{"mandatory":"x"},`},
		{"flags-number", "json-field", config, config + `"flags":7,`},
		{"flags", "", config, config + `"flags":["allow-discards"],`},
		{"config-unknown", "json-field", config, config + `"x":1,`},
		{"json-size", "config", `"json_size":"12288"`, `"json_size":"28672"`},
		{"keyslots-size-odd", "config", `"keyslots_size":"`, `"keyslots_size":"1`},
	}
}

// digestRows break the rules for the one digest.
func digestRows() []row {
	return []row{
		{"digest-hash", "digest-hash", `"hash":"sha256","iterations":1000,"salt":"([^"]*)","digest"`, `"hash":"sha1","iterations":1000,"salt":"$1","digest"`},
		{"digest-of-another-hash", "digest-length", `"hash":"sha256","iterations":1000,"salt":"([^"]*)","digest"`, `"hash":"sha512","iterations":1000,"salt":"$1","digest"`},
		{"digest-type", "digest-type", `"0":{"type":"pbkdf2"`, `"0":{"type":"argon2id"`},
		{"digest-iterations-low", "digest-iterations", `1000,"salt":"([^"]*)","digest"`, `999,"salt":"$1","digest"`},
		{"digest-iterations-high", "digest-iterations", `1000,"salt":"([^"]*)","digest"`, `2147483648,"salt":"$1","digest"`},
		{"digest-iterations-max", "", `1000,"salt":"([^"]*)","digest"`, `2147483647,"salt":"$1","digest"`},
		{"digest-iterations-huge", "digest-iterations", `1000,"salt":"([^"]*)","digest"`, `18446744073709552616,"salt":"$1","digest"`},
		{"digest-salt", "digest-salt", `"salt":"[^"]*","digest"`, `"salt":"AAAA","digest"`},
		{"no-digest", "digest-count", `"digests":\{"0":\{[^}]*\}\}`, `"digests":{}`},
		{"two-digests", "digest-count", `"digests":\{("0":(\{[^}]*\}))\}`, `"digests":{$1,"1":$2}`},
		{"two-digests-of-one-keyslot", "digest-binding", `"digests":{`, `"digests":{"1":{"type":"x","keyslots":["0"],"segments":[]},`},
		{"unbound-digest-of-nothing", "digest-binding", `"digests":{`, `"digests":{"1":{"type":"x","keyslots":["7"],"segments":[]},`},
		{"unbound-digest-32", "digest-count", `"digests":{`, `"digests":{"32":{"type":"x","keyslots":[],"segments":[]},`},
		{"digest-of-segment-1", "digest-binding", `"segments":["0"]`, `"segments":["1"]`},
		{"digest-of-no-segment", "digest-count", `"segments":["0"]`, `"segments":[]`},
		{"digest-of-segment-text", "json-field", `"segments":["0"]`, `"segments":"0"`},
		{"digest-of-two-segments", "digest-binding", `"segments":["0"]`, `"segments":["0","1"]`},
		{"digest-of-other-keyslot", "digest-binding", `"pbkdf2","keyslots":["0"]`, `"pbkdf2","keyslots":["1"]`},
		{"digest-of-keyslot-twice", "digest-binding", `"pbkdf2","keyslots":["0"]`, `"pbkdf2","keyslots":["0","0"]`},
		{"keyslot-without-digest", "skip:keyslot-unbound", `"keyslots":{`, slot1("290816")},
	}
}

// keyslotRows break the rules for keyslots and their areas.
func keyslotRows() []row {
	return []row{
		{"keyslot-null-cipher", "skip:keyslot-cipher", area, `"encryption":"cipher_null-ecb","key_size":64`},
		{"keyslot-cipher-aes-128", "", area, `"encryption":"aes-xts-plain64","key_size":32`},
		{"keyslot-cipher-key-size", "skip:keyslot-cipher", area, `"encryption":"aes-xts-plain64","key_size":16`},
		{"keyslot-cipher-aes-192", "skip:keyslot-cipher", area, `"encryption":"aes-xts-plain64","key_size":48`},
		{"keyslot-adiantum", "skip:keyslot-cipher", area, `"encryption":"xchacha12,aes-adiantum-plain64","key_size":32`},
		{"key-size-aes-128", "", `"luks2","key_size":64`, `"luks2","key_size":32`},
		{"key-size-aes-192", "skip:keyslot-key-size", `"luks2","key_size":64`, `"luks2","key_size":48`},
		{"key-size-zero", "skip:keyslot-key-size", `"luks2","key_size":64`, `"luks2","key_size":0`},
		{"keyslot-type", "skip:keyslot-type", `"type":"luks2"`, `"type":"reencrypt"`},
		{"real-reencrypt-keyslot", "skip:keyslot-type", `"keyslots":{"0"`, `"keyslots":{"1":{"type":"reencrypt","mode":"reencrypt","direction":"forward","key_size":1,"area":{"type":"none","offset":"290816","size":"4096"}},"0"`},
		{"keyslot-of-no-area", "json-field", `"keyslots":{"0"`, `"keyslots":{"1":{"type":"reencrypt","mode":"reencrypt"},"0"`},
		{"skipped-over-another", "keyslot-overlap", `"keyslots":{"0"`, `"keyslots":{"1":{"type":"reencrypt","area":{"type":"none","offset":"36864","size":"4096"}},"0"`},
		{"skipped-outside", "keyslot-area", `"keyslots":{"0"`, `"keyslots":{"1":{"type":"reencrypt","area":{"type":"none","offset":"0","size":"4096"}},"0"`},
		{"skipped-of-no-size", "keyslot-area", `"keyslots":{"0"`, `"keyslots":{"1":{"type":"reencrypt","area":{"type":"none","offset":"290816","size":"0"}},"0"`},
		{"keyslot-33", "keyslot-count", `"keyslots":{"0"`, `"keyslots":{"32"`},
		{"keyslot-octal", "keyslot-count", `"keyslots":{"0"`, `"keyslots":{"00"`},
		{"keyslot-field", "skip:json-field", `"luks2","key_size"`, `"luks2","x":1,"key_size"`},
		{"priority", "", `"luks2","key_size"`, `"luks2","priority":2,"key_size"`},
		{"priority-3", "skip:keyslot-priority", `"luks2","key_size"`, `"luks2","priority":3,"key_size"`},
		{"stripes", "skip:keyslot-af", `"stripes":4000`, `"stripes":1`},
		{"stripes-huge", "skip:keyslot-af", `"stripes":4000`, `"stripes":4294967295`},
		{"af-type", "skip:keyslot-af", `"type":"luks1"`, `"type":"none"`},
		{"af-hash", "skip:keyslot-af", `4000,"hash":"sha256"`, `4000,"hash":"sha1"`},
		{"af-sha512", "", `4000,"hash":"sha256"`, `4000,"hash":"sha512"`},
		{"area-in-header", "keyslot-area", `"offset":"32768"`, `"offset":"28672"`},
		{"area-at-zero", "keyslot-area", `"offset":"32768"`, `"offset":"0"`},
		{"area-past-end", "keyslot-area", `"offset":"32768"`, `"offset":"794624"`},
		{"area-last", "", `"offset":"32768"`, `"offset":"790528"`},
		{"area-odd", "keyslot-area", `"offset":"32768"`, `"offset":"33280"`},
		{"area-small", "skip:keyslot-area", `"size":"258048"`, `"size":"4096"`},
		{"area-huge", "keyslot-area", `"size":"258048"`, `"size":"999999999999999999"`},
		{"area-type", "skip:keyslot-area", `"type":"raw"`, `"type":"checksum"`},
		{"area-overlap", "keyslot-overlap", `"keyslots":{`, slot1("36864")},
	}
}

// kdfRows break the rules for key derivation.
func kdfRows() []row {
	return []row{
		{"kdf-type", "skip:kdf-type", `"kdf":{"type":"pbkdf2"`, `"kdf":{"type":"scrypt"`},
		{"kdf-hash", "skip:kdf-hash", `"kdf":{"type":"pbkdf2","hash":"sha256"`, `"kdf":{"type":"pbkdf2","hash":"sha1"`},
		{"kdf-iterations-zero", "skip:kdf-iterations", `"hash":"sha256","iterations":1000`, `"hash":"sha256","iterations":0`},
		{"kdf-iterations-negative", "skip:kdf-iterations", `"hash":"sha256","iterations":1000`, `"hash":"sha256","iterations":-1000`},
		{"kdf-iterations-max", "", `"hash":"sha256","iterations":1000`, `"hash":"sha256","iterations":2147483647`},
		{"kdf-iterations-high", "skip:kdf-iterations", `"hash":"sha256","iterations":1000`, `"hash":"sha256","iterations":2147483648`},
		{"kdf-salt", "skip:kdf-salt", `"iterations":1000,"salt":"[^"]*"`, `"iterations":1000,"salt":""`},
		{"argon2", "", kdf, argon(`"time":4,"memory":4194304,"cpus":4`)},
		{"argon2i", "", kdf, strings.Replace(argon(`"time":4,"memory":1048576,"cpus":4`), "2id", "2i", 1)},
		{"argon2-memory", "skip:kdf-memory", kdf, argon(`"time":4,"memory":4194305,"cpus":4`)},
		{"argon2-memory-wraps", "skip:kdf-memory", kdf, argon(`"time":4,"memory":4294967328,"cpus":4`)},
		{"argon2-memory-zero", "skip:kdf-memory", kdf, argon(`"time":4,"memory":0,"cpus":4`)},
		{"argon2-time-of-a-fast-machine", "", kdf, argon(`"time":2048,"memory":65536,"cpus":4`)},
		{"argon2-work", "skip:kdf-time", kdf, argon(`"time":2049,"memory":65536,"cpus":4`)},
		{"argon2-work-of-much-memory", "skip:kdf-time", kdf, argon(`"time":33,"memory":4194304,"cpus":4`)},
		{"argon2-work-wraps", "skip:kdf-time", kdf, argon(`"time":4398046511105,"memory":4194304,"cpus":4`)},
		{"argon2-time-zero", "skip:kdf-time", kdf, argon(`"time":0,"memory":1024,"cpus":4`)},
		{"argon2-cpus", "skip:kdf-cpus", kdf, argon(`"time":4,"memory":1024,"cpus":5`)},
		{"argon2-cpus-zero", "skip:kdf-cpus", kdf, argon(`"time":4,"memory":1024,"cpus":0`)},
		{"argon2-cpus-wraps", "skip:kdf-cpus", kdf, argon(`"time":4,"memory":1024,"cpus":257`)},
		{"kdf-mixed", "skip:json-field", kdf, argon(`"time":4,"memory":1024,"cpus":4,"iterations":1000`)},
	}
}

// tokenRows break the rules for tokens.
func tokenRows() []row {
	return []row{
		{"token", "", `"tokens":{`, `"tokens":{"3":{"type":"clevis","keyslots":["0"],"jwe":{"a":1}}`},
		{"talos-token", "", `"tokens":{`, `"tokens":{"0":{"UserData":{"sealedData":"AA=="},"type":"sideroKMS","keyslots":[]}`},
		{"token-keyslot", "token", `"tokens":{`, `"tokens":{"3":{"type":"clevis","keyslots":["9"]}`},
		{"token-keyslot-twice", "token", `"tokens":{`, `"tokens":{"3":{"type":"clevis","keyslots":["0","0"]}`},
		{"token-32", "token", `"tokens":{`, `"tokens":{"32":{"type":"clevis","keyslots":[]}`},
		{"token-without-keyslots", "json-field", `"tokens":{`, `"tokens":{"3":{"type":"clevis"}`},
		{"token-type-number", "json-field", `"tokens":{`, `"tokens":{"3":{"type":7,"keyslots":[]}`},
	}
}

// textRows break the rules for the JSON text itself.
func textRows() []row {
	return []row{
		{"unknown-top", "json-field", config, `"x":{},` + config},
		{"case-variant", "json-field", `"segments":{`, `"Segments":{"0":{}},"segments":{`},
		{"missing-top", "json-field", `"tokens":{},`, ``},
		{"duplicate-top", "json-duplicate", `"tokens":{},`, `"tokens":{},"tokens":{},`},
		{"duplicate-deep", "json-duplicate", `"stripes":4000`, `"stripes":1,"stripes":4000`},
		{"duplicate-escaped", "json-duplicate", `"stripes":4000`, `"strip\u0065s":1,"stripes":4000`},
		{"duplicate-in-token", "json-duplicate", `"tokens":{`, `"tokens":{"3":{"type":"a","type":"b","keyslots":[]}`},
		{"depth", "json-depth", `"tokens":{`, `"tokens":{"3":{"type":"a","keyslots":[],"x":` + strings.Repeat("[", 14) + strings.Repeat("]", 14) + `}`},
		{"depth-inside", "", `"tokens":{`, `"tokens":{"3":{"type":"a","keyslots":[],"x":` + strings.Repeat("[", 13) + strings.Repeat("]", 13) + `}`},
		{"trailing", "json-trailing", `\}$`, `}{}`},
		{"trailing-newline", "json-trailing", `\}$`, "}\n"},
		{"trailing-after-nul", "json-trailing", `\}$`, "}\x00{}"},
		{"leading-space", "json-syntax", `^\{`, " {"},
		{"not-utf8", "json-syntax", `"luks2"`, "\"luks2\xff\""},
		{"cut-off", "json-syntax", `\}$`, ``},
		{"comment", "json-syntax", `^\{`, `{/* json-c reads this */`},
		{"array", "json-syntax", `^`, `[`},
	}
}
