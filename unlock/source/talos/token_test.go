package talos

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"latchkey/internal/secret"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// tpmJSON is a token of a TPM with some fields changed.
func tpmJSON(change ...string) json.RawMessage {
	text := fmt.Sprintf(`{"UserData":{"keyslots":[0],"sealed_blob_private":%q,"sealed_blob_public":%q,"pcrs":[7],"pubkey_pcrs":[11],"alg":"sha256","encryption_version":"1","policy_hash":"AAAA","key_name":%q},"type":"talos-tpm2","keyslots":[]}`,
		b64("\x00\x07private"), b64("\x00\x06public"), b64("\x00\x04name"))
	return json.RawMessage(strings.NewReplacer(change...).Replace(text))
}

// hostile are tokens that are on the disk because somebody wrote them.
var hostile = []struct {
	name, kind string
	token      json.RawMessage
	says       string // "" is a token that can be read
}{
	{"a KMS'", TokenKMS, json.RawMessage(`{"UserData":{"sealedData":"AAAA"},"type":"sideroKMS","keyslots":[]}`), ""},
	{"with a field of a later Talos", TokenKMS, json.RawMessage(`{"UserData":{"sealedData":"AAAA","new":1},"type":"sideroKMS","keyslots":[],"x":[]}`), ""},
	{"no JSON", TokenKMS, json.RawMessage(`{"UserData"`), "JSON"},
	{"no data", TokenKMS, json.RawMessage(`{"type":"sideroKMS"}`), "sealedData is missing or no base64"},
	{"a list", TokenKMS, json.RawMessage(`[]`), "JSON"},
	{"a field twice", TokenKMS, json.RawMessage(`{"UserData":{"sealedData":"AAAA","sealedData":"BBBB"}}`), "JSON"},
	{"a field in another case", TokenKMS, json.RawMessage(`{"UserData":{"sealeddata":"AAAA"}}`), "JSON"},
	{"no base64", TokenKMS, json.RawMessage(`{"UserData":{"sealedData":"AA!A"}}`), "no base64"},
	{"base64 without its padding", TokenKMS, json.RawMessage(`{"UserData":{"sealedData":"AA"}}`), "no base64"},
	{"huge", TokenKMS, json.RawMessage(`{"UserData":{"sealedData":"` + strings.Repeat("A", maxToken) + `"}}`), "the limit is 16384"},
	{"more than a KMS takes", TokenKMS, json.RawMessage(`{"UserData":{"sealedData":"` + strings.Repeat("AAAA", maxBlob/3+1) + `"}}`), "sealedData has 8193 bytes, the limit is 8192"},
	{"a TPM's", TokenTPM, tpmJSON(), ""},
	{"a TPM's before 1.12", TokenTPM, tpmJSON(`"pcrs":[7],"pubkey_pcrs":[11],"alg":"sha256","encryption_version":"1"`, `"pcrs":[11]`), ""},
	{"a TPM's without PCRs as they were", TokenTPM, tpmJSON(`"pcrs":[7],`, ``), ""},
	{"a later Talos", TokenTPM, tpmJSON(`"encryption_version":"1"`, `"encryption_version":"2"`), `its encryption_version is "2", want 1`},
	{"another bank", TokenTPM, tpmJSON(`sha256`, `sha1`), `its alg is "sha1", want sha256`},
	{"a PCR that there is not", TokenTPM, tpmJSON(`[7]`, `[24]`), "its PCRs are [24]"},
	{"a negative PCR", TokenTPM, tpmJSON(`[11]`, `[-1]`), "its PCRs are [-1]"},
	{"too many PCRs", TokenTPM, tpmJSON(`[7]`, `[`+strings.Repeat("7,", 24)+`7]`), "its PCRs are [7 7"},
	{"a PCR that is text", TokenTPM, tpmJSON(`[7]`, `["7"]`), "JSON"},
	{"no private part", TokenTPM, tpmJSON(b64("\x00\x07private"), ""), "sealed_blob_private is missing"},
	{"a private part that is cut", TokenTPM, tpmJSON(b64("\x00\x07private"), b64("\x00\x07privat")), "sealed_blob_private has not the length"},
	{"an empty public part", TokenTPM, tpmJSON(b64("\x00\x06public"), b64("\x00\x00")), "sealed_blob_public has not the length"},
	{"more than a public part", TokenTPM, tpmJSON(b64("\x00\x06public"), b64("\x00\x06public!")), "sealed_blob_public has not the length"},
	{"no name of the storage key", TokenTPM, tpmJSON(b64("\x00\x04name"), ""), "key_name is missing"},
}

// TestHostile: what is refused is named.
func TestHostile(t *testing.T) {
	for _, row := range hostile {
		_, err := parseToken(row.kind, row.token)
		if (err == nil) != (row.says == "") || err != nil && !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: %v, want %q", row.name, err, row.says)
		}
		b, ok := Describe(row.kind, row.token)
		if !ok || (b.Sealed != "") != (err == nil) || err != nil && b.What != "cannot be used: "+err.Error() {
			t.Errorf("%s: described as %+v, %t", row.name, b, ok)
		}
		if got := Check(row.kind, row.token, []string{b.Sealed}, false); (got == nil) != (err == nil) {
			t.Errorf("%s: checked: %v", row.name, got)
		}
	}
	if _, ok := Describe("clevis", nil); ok {
		t.Error("a token of clevis is described")
	}
}

// TestPCRs: which are asked for, sorted, each once, and the TPM's name of the
// storage key.
func TestPCRs(t *testing.T) {
	for _, row := range []struct {
		name         string
		token        json.RawMessage
		pcrs, signed []int
	}{
		{"1.12", tpmJSON(), []int{7}, []int{11}},
		{"in any order", tpmJSON(`[7]`, `[7,1,7,0]`, `[11]`, `[12,11]`), []int{0, 1, 7}, []int{11, 12}},
		{"none", tpmJSON(`"pcrs":[7],`, ``), nil, []int{11}},
		{"before 1.12", tpmJSON(`"pcrs":[7],"pubkey_pcrs":[11],"alg":"sha256","encryption_version":"1"`, `"pcrs":[11]`), []int{7}, []int{11}},
	} {
		token, err := parseToken(TokenTPM, row.token)
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		if !slices.Equal(token.User.PCRs, row.pcrs) || !slices.Equal(token.User.Signed, row.signed) || string(token.sealed.Parent.Name) != "name" {
			t.Errorf("%s: PCRs %d, signed %d, storage key %q", row.name, token.User.PCRs, token.User.Signed, token.sealed.Parent.Name)
		}
	}
}

// FuzzToken: whatever stands there, it is read or refused.
func FuzzToken(f *testing.F) {
	for _, row := range hostile {
		f.Add([]byte(row.token), row.kind == TokenTPM)
	}
	f.Fuzz(func(t *testing.T, text []byte, ofTPM bool) {
		kind := TokenKMS
		if ofTPM {
			kind = TokenTPM
		}
		token, err := parseToken(kind, text)
		if err == nil && len(token.blob)+len(token.sealed.Public) == 0 {
			t.Error("it names nothing")
		}
	})
}

// TestSalt: the file as Talos writes it, and what is none.
func TestSalt(t *testing.T) {
	list := func(n int, b string) string { return "diskSalt:\n" + strings.Repeat("    - "+b+"\n", n) }
	for _, row := range []struct{ name, file, says string }{
		{"Talos'", list(32, "240"), ""},
		{"without the last line break", strings.TrimSpace(list(32, "0")), ""},
		{"short", list(31, "1"), "31 bytes of salt, want 32"},
		{"long", list(33, "1"), "line 34 is no byte of a salt of 32"},
		{"not bytes", list(32, "256"), "line 2 is no byte"},
		{"text", "diskSalt: abc\n", "it does not begin with the line diskSalt:"},
		{"another key", "salt:\n    - 1\n", "it does not begin with the line diskSalt:"},
		{"nothing", "", "it does not begin"},
		{"another key behind", list(32, "1") + "more: 1\n", "line 34 is no byte"},
		{"huge", list(32, "1") + strings.Repeat(" ", maxSaltFile), "the limit is 4096"},
	} {
		salt, err := ParseSalt(secret.Own([]byte(row.file)))
		if (err == nil) != (row.says == "") || err != nil && !strings.Contains(err.Error(), row.says) || err == nil && salt.Len() != SaltBytes {
			t.Errorf("%s: %d bytes, %v, want %q", row.name, salt.Len(), err, row.says)
		}
	}
	salt, err := ParseSalt(secret.Own([]byte("diskSalt:\n" + strings.Repeat("    - 65\n    - 66\n", 16))))
	if err != nil || string(salt.Reveal()) != strings.Repeat("AB", 16) {
		t.Errorf("%q, %v", salt.Reveal(), err)
	}
}

// TestUUID is Talos' check of what names a machine.
func TestUUID(t *testing.T) {
	for uuid, good := range map[string]bool{
		"4c4c4544-0042-3510-8052-b4c04f4d3632": true, "": false, "00000000-0000-0000-0000-000000000000": false,
		"00000000-0000-0000-0000-ac1f6bd047b8": false, "03000200-0400-0500-0006-000700080009": false, "00000000-0000-0000-8052-b4c04f4d3632": true,
	} {
		if err := checkUUID(uuid); (err == nil) != good {
			t.Errorf("%q: %v", uuid, err)
		}
	}
}

// TestResponse: an answer is a key of 32 bytes, and nothing else.
func TestResponse(t *testing.T) {
	good := "\x0a\x20" + strings.Repeat("k", 32)
	for name, reply := range map[string]string{
		"": good, "empty": "", "short": "\x0a\x1f" + good[2:33], "long": "\x0a\x21" + good[2:] + "k", "another field": "\x12" + good[1:], "another length": "\x0a\x1f" + good[2:], "more behind": good + "\x10\x01",
	} {
		key, err := response([]byte(reply))
		if (err == nil) != (name == "") || err == nil && string(key.Reveal()) != good[2:] {
			t.Errorf("%s: %q, %v", name, key.Reveal(), err)
		}
	}
	if got := string(request("id", make([]byte, 200))); got != "\x0a\x02id\x12\xc8\x01"+strings.Repeat("\x00", 200) {
		t.Errorf("request = %q", got)
	}
}
