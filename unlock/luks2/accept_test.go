package luks2_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"latchkey/unlock/luks2"
)

// oldMade are volumes of cryptsetup that are opened only where the plan says
// so. The verdict is the code by which they are refused elsewhere, or "skip:"
// and that of the keyslot.
func oldMade() []made {
	f := args{"--type", "luks1", "--pbkdf-force-iterations", "1000"}
	essiv := args{"--cipher", "aes-cbc-essiv:sha256", "--key-size", "256"}
	convert := [][]string{{"convert", "-q", "--type", "luks2", "DISK"}}
	return []made{
		{"cbc-essiv", with(fast, essiv...), nil, "segment-cipher", nil},
		{"cbc-essiv, aes-128", with(fast, "--cipher", "aes-cbc-essiv:sha256", "--key-size", "128"), nil, "segment-cipher", nil},
		{"cbc-essiv, aes-192", with(fast, "--cipher", "aes-cbc-essiv:sha256", "--key-size", "192"), nil, "segment-cipher", nil},
		{"cbc-essiv, sectors of 4096", with(fast, with(essiv, "--sector-size", "4096")...), nil, "segment-cipher", nil},
		{"cbc-essiv by argon2id", with(fastArgon, essiv...), nil, "segment-cipher", nil},
		{"cbc-essiv, keyslots by xts", with(fast, with(essiv, "--keyslot-cipher", "aes-xts-plain64", "--keyslot-key-size", "512")...), nil, "segment-cipher", nil},
		{"xts, keyslots by cbc-essiv", with(fast, "--keyslot-cipher", "aes-cbc-essiv:sha256", "--keyslot-key-size", "256"), nil, "skip:keyslot-cipher", nil},
		{"sha1", with(fast, "--hash", "sha1"), nil, "digest-hash", nil},
		{"ripemd160", with(fast, "--hash", "ripemd160"), nil, "digest-hash", nil},
		{"LUKS1, sha1", with(f, "--hash", "sha1"), nil, "digest-hash", nil},
		{"LUKS1, ripemd160", with(f, "--hash", "ripemd160"), nil, "digest-hash", nil},
		{"LUKS1, cbc-essiv", with(f, essiv...), nil, "segment-cipher", nil},
		{"LUKS1, cbc-essiv, sha1, as before 2013", with(f, with(essiv, "--hash", "sha1")...), nil, "segment-cipher", nil},
		{"LUKS1, cbc-essiv, sha512", with(f, with(essiv, "--hash", "sha512")...), nil, "segment-cipher", nil},
		{"converted from LUKS1, sha1", with(f, "--hash", "sha1"), convert, "digest-hash", nil},
		{"converted from LUKS1, cbc-essiv, sha1", with(f, with(essiv, "--hash", "sha1")...), convert, "segment-cipher", nil},
	}
}

func readAs(a luks2.Accept, d disk) (*luks2.Header, error) {
	h, err := a.Read(d, int64(len(d)))
	if errors.Is(err, luks2.ErrLUKS1) {
		return a.ReadLUKS1(d, int64(len(d)))
	}
	return h, err
}

// What cryptsetup makes with other ciphers and hashes opens where the plan
// accepts it, with the same volume key, and is refused elsewhere.
func TestAccept(t *testing.T) {
	for _, m := range oldMade() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			path := m.make(t)
			d := load(t, path)
			h, err := readAs(luks2.Strict, d)
			got := code(err)
			if err == nil && len(h.Skipped()) > 0 {
				got = "skip:" + h.Skipped()[0].Reason.Code()
			}
			if got != m.verdict {
				t.Errorf("strict: Read = %v, code %q, want %q", err, got, m.verdict)
			}
			if !strings.Contains(fmt.Sprint(err, skippedText(h)), "accept: cryptsetup") {
				t.Errorf("strict: %v, %s do not tell what to write", err, skippedText(h))
			}

			if h, err = readAs(luks2.Cryptsetup, d); err != nil {
				t.Fatalf("Read = %v", err)
			}
			m.checkSkips(t, h)
			m.checkOpens(t, h, d, path)
			if h.Type() == "LUKS2" {
				changeKeepsAll(t, h, d, path)
			}
		})
	}
}

func skippedText(h *luks2.Header) (text string) {
	if h == nil {
		return ""
	}
	for _, s := range h.Skipped() {
		text += s.Reason.Error()
	}
	return text
}

// What is never opened, whatever the plan says, and what it is called.
func TestNeverAccepted(t *testing.T) {
	for _, m := range []made{
		{"sha384", with(fast, "--hash", "sha384"), nil, "digest-hash", nil},
		{"whirlpool", with(fast, "--hash", "whirlpool"), nil, "digest-hash", nil},
		{"LUKS1, whirlpool", args{"--type", "luks1", "--pbkdf-force-iterations", "1000", "--hash", "whirlpool"}, nil, "digest-hash", nil},
		{"cbc-plain64", with(fast, "--cipher", "aes-cbc-plain64", "--key-size", "256"), nil, "segment-cipher", nil},
	} {
		t.Run(m.name, func(t *testing.T) {
			if _, err := readAs(luks2.Cryptsetup, load(t, m.make(t))); code(err) != m.verdict {
				t.Errorf("Read = %v, want %s", err, m.verdict)
			}
		})
	}
}

// Each row is judged by what it does to a header, in both degrees.
func TestAcceptRows(t *testing.T) {
	const (
		key64 = `"key_size":64,"af"`
		null  = "keyslot-cipher"
	)
	cipher := func(name string) row { return row{name, "", mode, `"encryption":"` + name + `","sector_size"`} }
	for _, tt := range []struct {
		row
		size         string // of the key, in bytes; "" leaves 64
		strict, wide string
	}{
		{cipher("serpent-xts-plain64"), "", "segment-cipher", ""},
		{cipher("serpent-xts-plain64"), "32", "segment-cipher", ""},
		{cipher("serpent-xts-plain64"), "48", "segment-cipher", "skip:keyslot-key-size"},
		{cipher("twofish-xts-plain64"), "", "segment-cipher", ""},
		{cipher("xchacha12,aes-adiantum-plain64"), "32", "segment-cipher", ""},
		{cipher("xchacha20,aes-adiantum-plain64"), "32", "segment-cipher", ""},
		{cipher("xchacha12,aes-adiantum-plain64"), "", "segment-cipher", "skip:keyslot-key-size"},
		{cipher("aes-cbc-essiv:sha256"), "", "segment-cipher", "skip:keyslot-key-size"},
		{cipher("capi:xts(aes)-plain64"), "", "segment-cipher", ""},
		{cipher("capi:xts(serpent)-plain64"), "", "segment-cipher", ""},
		{cipher("capi:adiantum(xchacha12,aes)-plain64"), "32", "segment-cipher", ""},
		{cipher("capi:cbc(aes)-essiv:sha256"), "32", "segment-cipher", ""},
		{cipher("capi:xts(aes)-plain64 0 0"), "", "segment-cipher", "segment-cipher"},
		{cipher("capi:"), "", "segment-cipher", "segment-cipher"},
		{cipher("capi:ecb(cipher_null)-null"), "", "segment-cipher", "segment-cipher"},
		{cipher("cipher_null-ecb"), "", "segment-cipher", "segment-cipher"},
		{cipher("aes-xts-plain"), "", "segment-cipher", "segment-cipher"},
		{cipher("camellia-xts-plain64"), "", "segment-cipher", "segment-cipher"},
		{row{"keyslot by serpent", "", area, `"encryption":"serpent-xts-plain64","key_size":64`}, "", "skip:keyslot-cipher", ""},
		{row{"keyslot by adiantum", "", area, `"encryption":"xchacha12,aes-adiantum-plain64","key_size":32`}, "", "skip:keyslot-cipher", ""},
		{row{"keyslot by adiantum, another size", "", area, `"encryption":"xchacha12,aes-adiantum-plain64","key_size":64`}, "", "skip:keyslot-cipher", "skip:keyslot-cipher"},
		{row{"keyslot by null", "", area, `"encryption":"cipher_null-ecb","key_size":64`}, "", "skip:" + null, "skip:" + null},
		{row{"digest of sha1, too long", "", `"hash":"sha256","iterations":1000,"salt":"[^"]*","digest"`, `"hash":"sha1","iterations":1000,"salt":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","digest"`}, "", "digest-hash", "digest-length"},
		{row{"in reencryption", "", config, config + `"requirements":{"mandatory":["online-reencrypt-v2"]},`}, "", "requirements", "requirements"},
		{row{"unknown requirement", "", config, config + `"requirements":{"mandatory":["later"]},`}, "", "requirement-unknown", "requirement-unknown"},
		{row{"opal", "", config, config + `"requirements":{"mandatory":["opal"]},`}, "", "segment-opal", "segment-opal"},
		{row{"opal segment", "", `"type":"crypt"`, `"type":"hw-opal-crypt"`}, "", "segment-opal", "segment-opal"},
		{row{"inline tags", "", config, config + `"requirements":{"mandatory":["inline-hw-tags"]},`}, "", "segment-integrity", "segment-integrity"},
		{row{"integrity", "", `"iv_tweak"`, `"integrity":{"type":"hmac(sha256)","journal_encryption":"none","journal_integrity":"none"},"iv_tweak"`}, "", "segment-integrity", "segment-integrity"},
	} {
		t.Run(tt.name+" "+tt.size, func(t *testing.T) {
			d := tt.disk(t)
			if tt.size != "" {
				rewriteJSON(t, d, func(text string) string { return strings.Replace(text, key64, `"key_size":`+tt.size+`,"af"`, 1) })
			}
			for a, want := range map[luks2.Accept]string{luks2.Strict: tt.strict, luks2.Cryptsetup: tt.wide} {
				h, err := a.Read(d, int64(len(d)))
				got := code(err)
				if err == nil && len(h.Skipped()) > 0 {
					got = "skip:" + h.Skipped()[0].Reason.Code()
				}
				if got != want {
					t.Errorf("accept %d: Read = %v, code %q, want %q", a, err, got, want)
				}
				if err == nil && luks2.CheckCipher(h.Segment().Cipher, 32) != nil && luks2.CheckCipher(h.Segment().Cipher, 64) != nil {
					t.Errorf("Segment().Cipher = %q, which is in no list", h.Segment().Cipher)
				}
			}
		})
	}
}

// Volumes of each cipher, in payload and keyslot, open and are told apart.
func TestEachCipher(t *testing.T) {
	digests := map[[32]byte]string{}
	for name, sizes := range keySizes {
		size := sizes[len(sizes)-1]
		d := make(disk, 2<<20)
		h, key, err := luks2.FormatAs(d, luks2.NewVolume{UUID: testUUID, SizeBytes: int64(len(d)), OffsetBytes: 1 << 20}, random(randomKey), name, size)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, _, err := unlock(h, d, randomKey, luks2.AnySlot)
		if err != nil || got.MAC() != key.MAC() || got.Bytes().Len() != size || h.Segment().Cipher != name {
			t.Errorf("%s: Unlock = %v, %v of %d bytes, cipher %s", name, err, got, got.Bytes().Len(), h.Segment().Cipher)
		}
		sum := h.SubsetDigest()
		if digests[sum] != "" {
			t.Errorf("%s has the subset digest of %s", name, digests[sum])
		}
		digests[sum] = name
		if name != luks2.Cipher {
			if _, err := read(d); code(err) != "segment-cipher" {
				t.Errorf("%s: strict Read = %v", name, err)
			}
		}
	}
}
