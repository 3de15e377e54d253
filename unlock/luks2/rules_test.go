package luks2_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/unlock/luks2"
)

func allRows() []row {
	return slices.Concat(segmentRows(), configRows(), digestRows(), keyslotRows(), kdfRows(), tokenRows(), textRows())
}

// disk is an accepted volume with the row's change.
func (r row) disk(t *testing.T) disk {
	_, _, d := format(t)
	rewriteJSON(t, d, func(text string) string {
		old := r.old
		if !strings.ContainsAny(old, `\^$*`) {
			old = regexp.QuoteMeta(old)
		}
		re := regexp.MustCompile(old)
		at := re.FindStringSubmatchIndex(text)
		if at == nil {
			t.Fatalf("%q is not in %s", r.old, text)
		}
		return text[:at[0]] + string(re.ExpandString(nil, r.new, text, at)) + text[at[1]:]
	})
	return d
}

// Each row breaks one rule of A3 to A7, or stays just inside it.
func TestRules(t *testing.T) {
	for _, tt := range allRows() {
		t.Run(tt.name, func(t *testing.T) {
			h, err := read(tt.disk(t))
			got := code(err)
			if err == nil && len(h.Skipped()) > 0 {
				got = "skip:" + h.Skipped()[0].Reason.Code()
			}
			if got != tt.code {
				t.Errorf("Read = %v, code %q, want %q", err, got, tt.code)
			}
		})
	}
}

// What we accept, cryptsetup accepts, and reads the same metadata (A8).
func TestAcceptedElsewhere(t *testing.T) {
	for _, tt := range allRows() {
		if tt.code != "" {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			d := tt.disk(t)
			text, _, _ := bytes.Cut(d[jsonStart:hdrSize], []byte{0})
			dump := cryptsetup(t, "", "luksDump", "--dump-json-metadata", save(t, d))
			var ours, theirs any
			if err := errors.Join(json.Unmarshal(text, &ours), json.Unmarshal([]byte(dump), &theirs)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(ours, theirs); diff != "" {
				t.Errorf("cryptsetup reads another header (-ours +theirs):\n%s", diff)
			}
		})
	}
}

// A digest is as long as its hash, or as that of LUKS1, from which cryptsetup
// converts: nothing else (A5).
func TestDigestLengths(t *testing.T) {
	_, _, base := format(t)
	re := regexp.MustCompile(`"hash":"sha256","iterations":1000,"salt":"([^"]*)","digest":"[^"]*"`)
	for hash, size := range map[string]int{"sha256": 32, "sha512": 64} {
		for n := range 66 {
			d := clone(base)
			rewriteJSON(t, d, func(text string) string {
				return re.ReplaceAllString(text, fmt.Sprintf(`"hash":%q,"iterations":1000,"salt":"$1","digest":%q`, hash, base64.StdEncoding.EncodeToString(make([]byte, n))))
			})
			want := "digest-length"
			if n == size || n == 20 {
				want = ""
			}

			h, err := read(d)
			if code(err) != want {
				t.Errorf("Read with a %s digest of %d bytes = %v, want code %q", hash, n, err, want)
			}
			if err == nil {
				if _, _, err := unlock(h, d, randomKey, luks2.AnySlot); err == nil {
					t.Errorf("Unlock with a digest of zeros succeeds")
				}
			}
		}
	}
}

// Each row breaks a rule of the binary header in both copies.
func TestBinaryRules(t *testing.T) {
	fill := func(at int, s string) func([]byte) { return func(raw []byte) { copy(raw[at:], s) } }
	for _, tt := range []struct {
		name, code string
		change     func(raw []byte)
	}{
		{"uuid-short", "uuid", fill(168+35, "\x00")},
		{"uuid-not-hex", "uuid", fill(168, "z")},
		{"uuid-control", "uuid", fill(168, "\n")},
		{"uuid-upper", "", fill(168, "ABCDEF01")},
		{"uuid-behind-nul", "uuid", fill(168+38, "x")},
		{"label", "", fill(24, "my disk")},
		{"label-escape", "label", fill(24, "\x1b[2J")},
		{"label-not-utf8", "label", fill(24, "\xff")},
		{"label-behind-nul", "label", fill(24+40, "x")},
		{"label-without-end", "label", fill(24, strings.Repeat("x", 48))},
		{"label-direction", "label", fill(24, "a\u202eb")},
		{"checksum-sha512", "checksum-algorithm", fill(72, "sha512\x00")},
		{"checksum-garbage", "headers-damaged", fill(72, "\xffsha256")},
		{"version-3", "headers-damaged", fill(6, "\x00\x03")},
		{"size-odd", "headers-damaged", fill(8, "\x00\x00\x00\x00\x00\x00\x40\x01")},
		{"size-zero", "headers-damaged", fill(8, "\x00\x00\x00\x00\x00\x00\x00\x00")},
		{"size-huge", "headers-damaged", fill(8, "\x7f\xff\xff\xff\xff\xff\xff\xff")},
		{"offset", "headers-damaged", fill(256, "\x01")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, d := format(t)
			rewrite(d, 0, tt.change)
			rewrite(d, hdrSize, tt.change)
			if _, err := read(d); code(err) != tt.code {
				t.Errorf("Read = %v, want code %q", err, tt.code)
			}
		})
	}
}
