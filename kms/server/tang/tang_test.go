package tang_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/kms/server/tang"
)

// A recorded key of jose's: its file, its thumbprints, and of one for the
// exchange what was asked and what tangd answered.
type recorded struct {
	file        string
	thumbprints []string
	ask, answer string
}

func recordings(t testing.TB) (all []recorded, adv string) {
	t.Helper()
	text, err := os.ReadFile("testdata/tangd.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		last := len(all) - 1
		switch word {
		case "key":
			all = append(all, recorded{file: rest})
		case "thp":
			all[last].thumbprints = append(all[last].thumbprints, rest)
		case "ask":
			all[last].ask = rest
		case "answer":
			all[last].answer = rest
		case "adv":
			adv = rest
		}
	}
	if len(all) != 6 || adv == "" {
		t.Fatalf("found %d keys", len(all))
	}
	return all, adv
}

func parse(t testing.TB, file string) tang.Private {
	t.Helper()
	p, err := tang.ParsePrivate([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What tangd answered is what is answered here, to the byte, for its keys on
// all curves; jose's thumbprints name them.
//
// compatible: Disks | tang 15, jose 14 (Debian 13) | their keys on P-256, P-384 and P-521, and their thumbprints, give the answers here that tangd gives
func TestRecorded(t *testing.T) {
	all, _ := recordings(t)
	exchanges := 0
	for _, r := range all {
		p := parse(t, r.file)
		for _, thp := range r.thumbprints {
			if !p.Named(thp) {
				t.Errorf("%s is not named %s", p.Thumbprint(), thp)
			}
			if p.Named(strings.ToUpper(thp)) || p.Named(thp[1:]) {
				t.Errorf("%s is named by another text than %s", p.Thumbprint(), thp)
			}
		}
		if len(r.thumbprints) != 5 || p.Thumbprint() != r.thumbprints[2] {
			t.Errorf("Thumbprint() = %s, want the third of %v", p.Thumbprint(), r.thumbprints)
		}
		if r.ask == "" {
			continue
		}
		exchanges++
		point, err := tang.ParseKey([]byte(r.ask))
		if err != nil {
			t.Fatal(err)
		}
		got, err := tang.Exchange(p, point)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := json.Marshal(got); err != nil || string(text) != r.answer {
			t.Errorf("Exchange = %s, %v, want %s", text, err, r.answer)
		}
	}
	if exchanges != 3 {
		t.Errorf("%d exchanges were recorded, want 3", exchanges)
	}
}

// A key's file is read back as it was.
func TestFile(t *testing.T) {
	all, _ := recordings(t)
	for _, r := range all {
		p := parse(t, r.file)
		text, err := p.File()
		if err != nil {
			t.Fatal(err)
		}
		var got, want map[string]any
		if err := errors.Join(json.Unmarshal(text, &got), json.Unmarshal([]byte(r.file), &want)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("File (-want +got):\n%s", diff)
		}
	}
}

// Generate makes what tangd-keygen makes, or a key for the exchange on another
// curve.
func TestGenerate(t *testing.T) {
	if _, small, err := tang.Generate("P-256"); err != nil || small.Crv != "P-256" || !small.Recovers() {
		t.Errorf("on P-256: %+v, %v", small.Key, err)
	}
	if _, _, err := tang.Generate("P-224"); err == nil {
		t.Error("on P-224: it was made")
	}
	sign, exchange, err := tang.Generate(tang.DefaultCurve)
	if err != nil {
		t.Fatal(err)
	}
	if !sign.Signs() || sign.Exchanges() || sign.Recovers() || sign.Alg != "ES512" || sign.Crv != "P-521" {
		t.Errorf("the signing key is %+v", sign.Key)
	}
	if exchange.Signs() || !exchange.Exchanges() || !exchange.Recovers() || exchange.Alg != "ECMR" || exchange.Crv != "P-521" {
		t.Errorf("the exchange key is %+v", exchange.Key)
	}
	for _, p := range []tang.Private{sign, exchange} {
		text, err := p.File()
		if err != nil {
			t.Fatal(err)
		}
		if back := parse(t, string(text)); back.Thumbprint() != p.Thumbprint() || !back.D.Equal(p.D) {
			t.Errorf("%s is read back as another", text)
		}
	}
}

// Key files that would give another key than they name, or none.
func TestPrivateRefused(t *testing.T) {
	all, _ := recordings(t)
	sign, exchange := all[0].file, all[1].file
	other := parse(t, all[4].file)
	text, err := other.File()
	if err != nil {
		t.Fatal(err)
	}
	d := func(file string) string {
		_, rest, _ := strings.Cut(file, `"d":"`)
		d, _, _ := strings.Cut(rest, `"`)
		return d
	}
	for _, row := range []struct{ name, file, from, to, want string }{
		{"no key", "", "", "", "reading JSON"},
		{"no private part", exchange, d(exchange), "", "its d is not 66 bytes"},
		{"short private part", exchange, d(exchange), "AAAA", "its d is not 66 bytes"},
		{"private part 0", exchange, d(exchange), strings.Repeat("A", 88), "no number of the curve"},
		{"another's private part", exchange, d(exchange), d(string(text)), "not that of x and y"},
		{"another curve's name", exchange, "P-521", "P-384", "bytes"},
		{"a curve of nobody's", exchange, "P-521", "secp256k1", "want P-256"},
		{"another kind", exchange, `"EC"`, `"OKP"`, "want EC"},
		{"another alg", exchange, "ECMR", "ECDH-ES", "ES512 or ECMR"},
		{"another curve's alg", sign, "ES384", "ES512", "ES384 or ECMR"},
		{"alg for signing, key_ops for the exchange", exchange, "ECMR", "ES512", "ES512 or ECMR"},
		{"key_ops for nothing", exchange, `"deriveKey"`, `"encrypt"`, "key_ops"},
		{"signs and verifies nothing", sign, `"sign","verify"`, `"sign"`, "key_ops"},
		{"off the curve", exchange, `"x":"A`, `"x":"B`, "curve"},
		{"a member twice", exchange, `"kty":"EC"`, `"kty":"EC","kty":"EC"`, "JSON"},
		{"a member of nobody's", exchange, `"kty":"EC"`, `"kty":"EC","exp":1`, "exp"},
		{"padding", exchange, d(exchange), d(exchange) + "==", "its d is not 66 bytes"},
	} {
		file := strings.Replace(row.file, row.from, row.to, 1)
		if file == row.file && row.file != "" {
			t.Fatalf("%s: the row changes nothing", row.name)
		}
		if _, err := tang.ParsePrivate([]byte(file)); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: ParsePrivate = %v, want an error with %q", row.name, err, row.want)
		}
	}
}

// Points that would tell of the key, or that are none.
func TestExchangeRefused(t *testing.T) {
	all, _ := recordings(t)
	p := parse(t, all[1].file)
	good, err := tang.ParseKey([]byte(all[1].ask))
	if err != nil {
		t.Fatal(err)
	}
	zero := base64.RawURLEncoding.EncodeToString(make([]byte, 66))
	field := base64.RawURLEncoding.EncodeToString(append([]byte{1}, []byte(strings.Repeat("\xff", 65))...)) // the field's own number, which is 0 in it
	for _, row := range []struct {
		name   string
		change func(*tang.Key)
	}{
		{"off the curve", func(k *tang.Key) { k.Y = k.X }},
		{"0, 0: how some write the point at infinity", func(k *tang.Key) { k.X, k.Y = zero, zero }},
		{"a coordinate beyond the field", func(k *tang.Key) { k.X = field }},
		{"empty", func(k *tang.Key) { k.X, k.Y = "", "" }},
		{"short", func(k *tang.Key) { k.X = k.X[:86] }},
		{"another form of base64", func(k *tang.Key) { k.X = "+" + k.X[1:] }},
		{"another curve's name", func(k *tang.Key) { k.Crv = "P-256" }},
		{"another kind", func(k *tang.Key) { k.Kty = "RSA" }},
	} {
		k := good
		row.change(&k)
		if got, err := tang.Exchange(p, k); err == nil {
			t.Errorf("%s: Exchange = %+v", row.name, got)
		}
	}
	p256, err := tang.ParseKey([]byte(all[5].ask))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := tang.Exchange(p, p256); err == nil {
		t.Errorf("a point on P-256 for a key on P-521: Exchange = %+v", got)
	}
}
