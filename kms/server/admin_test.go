package server_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// D8: JSON that two readers could understand differently is not taken.
func TestStrictJSON(t *testing.T) {
	f := newKMS(t)
	for _, row := range []struct{ name, body string }{
		{"a key twice", `{"who":"a","who":"b"}`},
		{"a key twice, once in capitals", `{"who":"a","WHO":"b"}`},
		{"a key in capitals", `{"Who":"a"}`},
		{"an unknown key", `{"who":"a","force":true}`},
		{"something after it", `{"who":"a"} {}`},
		{"garbage after it", `{"who":"a"}x`},
		{"too deep", `{"volumes":` + strings.Repeat("[", 9) + strings.Repeat("]", 9) + `}`},
		{"a list", `[]`},
		{"a number for text", `{"who":1}`},
		{"nothing", ``},
		{"cut short", `{"who":"a"`},
		{"a bad UUID", `{"who":"a","volumes":["x"]}`},
	} {
		status, answer := post(f.AdminHandler(), "/v1/node/approve", []byte(row.body))
		var p struct{ Error string }
		if err := json.Unmarshal(answer, &p); err != nil || status != http.StatusBadRequest || p.Error == "" {
			t.Errorf("%s: status %d, %s, want 400 and why", row.name, status, answer)
		}
		if row.name == "too deep" && !strings.Contains(p.Error, "deeper than 8") {
			t.Errorf("too deep: %q", p.Error)
		}
	}

	status, _ := post(f.AdminHandler(), "/v1/node/approve", []byte(`{"who":"one two three four five six","no_pcrs":false,"move":false,"volumes":[]}`))
	if status != http.StatusNotFound {
		t.Errorf("an approval in good form of nobody: status %d, want 404", status)
	}
}

func TestAdminBounds(t *testing.T) {
	f := newKMS(t)
	uuid := "/v1/volume/put?uuid=8b7f0000-0000-4000-8000-000000000001"
	for _, size := range []int{0, 513, 70_000} {
		if status, _ := post(f.AdminHandler(), uuid, bytes.Repeat([]byte("x"), size)); status == http.StatusOK {
			t.Errorf("a passphrase of %d bytes was kept", size)
		}
	}

	if status, answer := post(f.AdminHandler(), uuid, []byte(canary)); status != http.StatusOK || bytes.Contains(answer, []byte(canary)) {
		t.Errorf("put: status %d, %s", status, answer)
	}
	for _, path := range []string{"/v1/volumes", "/v1/nodes", "/v1/audit?from=1", "/v1/check", "/v1/trust", "/v1/backup"} {
		if status, answer := get(f.AdminHandler(), path); status != http.StatusOK || bytes.Contains(answer, []byte(canary)) {
			t.Errorf("%s: status %d, or it shows the secret", path, status)
		}
	}
}

// FuzzAttest: only the exact statement is taken, whatever else the AK
// signs.
func FuzzAttest(f *testing.F) {
	k := newKMS(f)
	node := k.approved()
	extra := bytes.Repeat([]byte{0xab}, 32)
	a, _ := node.Statement([]int{7, 11, 12, 15}, extra)
	f.Add(a.Encode(), uint16(0), byte(0))
	f.Add(a.Encode(), uint16(4), byte(1))
	f.Add(a.Encode(), uint16(60), byte(0xff))
	f.Add([]byte{}, uint16(0), byte(0))

	f.Fuzz(func(t *testing.T, template []byte, at uint16, flip byte) {
		changed := false
		cheat := forger{TPM: node, quote: nil}
		cheat.quote = quoteOf(node, func(honest, extraNow []byte) []byte {
			b := bytes.ReplaceAll(template, extra, extraNow)
			if len(b) > 0 {
				b[int(at)%len(b)] ^= flip
			}
			changed = !bytes.Equal(mask(b), mask(honest))
			if !changed {
				copy(b[84:92], honest[84:92]) // the counters are TestWhoGetsWhat's
			}
			return b
		})

		if _, err := k.get(cheat); (err == nil) == changed {
			t.Errorf("Get = %v, and the statement was changed: %t", err, changed)
		}
	})
}

// mask blanks what the KMS has no reason to look at: the signer's name (8
// to 42), the clock in milliseconds with the counters (76 to 92), safe and the
// firmware's version (92 to 101).
func mask(b []byte) []byte {
	b = bytes.Clone(b)
	for _, r := range [][2]int{{8, 42}, {76, 101}} {
		if len(b) >= r[1] {
			clear(b[r[0]:r[1]])
		}
	}
	return b
}
