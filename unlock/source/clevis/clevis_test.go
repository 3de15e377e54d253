package clevis

import (
	"context"
	"crypto/elliptic"
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/boot/codes"
	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
	"latchkey/unlock/source/clevis/clevistest"
)

// lan are the tang servers by URL; one that is nil never answers.
type lan map[string]*clevistest.Tang

func (l lan) Ask(ctx context.Context, url, path string, body []byte, take func([]byte) error) error {
	t := l[url]
	if t == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	if path != "/rec/"+t.Thumbprint() {
		<-ctx.Done()
		return fmt.Errorf("%w: %w", ErrNoKey, ctx.Err())
	}
	reply, err := t.Recover(body)
	if err != nil {
		return err
	}
	return take(reply)
}

func token(text json.RawMessage) luks2.Token {
	return luks2.Token{Type: "clevis", Keyslots: []int{1}, JSON: text}
}

const content = "a passphrase that clevis made of random letters"

// TestTang: each curve that tang can have, and an answer of another server.
func TestTang(t *testing.T) {
	for _, c := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		tang, other := clevistest.New(c), clevistest.New(c)
		sealed := clevistest.Token(tang.Seal("http://a", []byte(content)), 1)
		s := &Clevis{Allowed: []string{tang.Thumbprint()}, Asker: lan{"http://a:80": tang}}
		key, err := s.token(t.Context(), token(sealed))
		if err != nil || string(key.Reveal()) != content {
			t.Errorf("%s: %q, %v, want the content", c.Params().Name, key.Reveal(), err)
		}

		j, err := parseToken(sealed)
		if err != nil {
			t.Fatal(err)
		}
		x, err := j.exchange()
		if err != nil {
			t.Fatal(err)
		}
		reply, err := other.Recover(x.request)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := x.open(reply); err == nil {
			t.Errorf("%s: another server's answer opens it", c.Params().Name)
		}
	}
}

// TestBlinded: what is sent tells nothing: it is another point every time,
// and never the one in the token.
func TestBlinded(t *testing.T) {
	tang := clevistest.New(elliptic.P521())
	j, err := parseCompact(tang.Seal("http://a", []byte(content)))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{j.header.Epk.X: true}
	for range 8 {
		x, err := j.exchange()
		if err != nil {
			t.Fatal(err)
		}
		var k jwk
		if err := json.Unmarshal(x.request, &k); err != nil || seen[k.X] {
			t.Fatalf("sent %s, %v: a point that was seen before", x.request, err)
		}
		seen[k.X] = true
		one := new(big.Int).Mul(new(big.Int).SetBytes(x.blinding.e.Bytes()), new(big.Int).SetBytes(x.blinding.inverse.Bytes()))
		if one.Mod(one, x.curve.n).Cmp(big.NewInt(1)) != 0 {
			t.Error("the blinding and its inverse are not each other's")
		}
	}
}

// TestShares: thresholds, nesting, and servers that are dead or not allowed.
func TestShares(t *testing.T) {
	a, b, c, stranger := clevistest.New(elliptic.P521()), clevistest.New(elliptic.P521()), clevistest.New(elliptic.P256()), clevistest.New(elliptic.P521())
	seal := func(tang *clevistest.Tang, url string) func([]byte) string {
		return func(share []byte) string { return tang.Seal(url, share) }
	}
	nest := func(n int, in ...func([]byte) string) func([]byte) string {
		return func(share []byte) string { return clevistest.Share(n, share, in...) }
	}
	A, B, C, S := seal(a, "http://a"), seal(b, "http://b"), seal(c, "http://c"), seal(stranger, "http://s")
	all := lan{"http://a:80": a, "http://b:80": b, "http://c:80": c, "http://s:80": stranger}
	for _, row := range []struct {
		name string
		make func([]byte) string
		lan  lan
		code string // "" opens
	}{
		{"one of two, one dead", nest(1, A, B), lan{"http://b:80": b}, ""},
		{"two of three, one dead", nest(2, A, B, C), lan{"http://a:80": a, "http://c:80": c}, ""},
		{"two of three, two dead", nest(2, A, B, C), lan{"http://a:80": a}, CodeSilent},
		{"three of three", nest(3, A, B, C), all, ""},
		{"one share", nest(1, A), all, ""},
		{"nested", nest(2, A, nest(1, B, C)), lan{"http://a:80": a, "http://c:80": c}, ""},
		{"nested thrice", nest(1, nest(1, nest(1, A))), all, ""},
		{"nested too deep", nest(1, nest(1, nest(1, nest(1, A)))), all, CodeToken},
		{"one of two, one not allowed", nest(1, A, S), all, ""},
		{"two of two, one not allowed", nest(2, A, S), all, CodeToken},
		{"a dead one, and one that has another key by now", nest(1, A, B), lan{"http://b:80": c}, CodeNoKey},
		{"one that has another key by now", B, lan{"http://b:80": c}, CodeNoKey},
		{"one of two, one over TLS", nest(1, seal(a, "https://a"), B), all, ""},
		{"sixteen messages", nest(1, A, A, A, A, A, A, A, A, A, A, A, A, A, A, A), all, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				s := &Clevis{Allowed: []string{a.Thumbprint(), b.Thumbprint(), c.Thumbprint()}, Asker: row.lan}
				began := time.Now()
				key, err := s.token(ctx, token(clevistest.Token(row.make([]byte(content)), 1)))
				if codes.Of(err) != row.code || err == nil && string(key.Reveal()) != content {
					t.Errorf("%q, %v, want %q", key.Reveal(), err, row.code)
				}
				if err == nil && time.Since(began) > 0 {
					t.Errorf("it took %s: a dead server costs something", time.Since(began))
				}
			})
		})
	}
}

// TestHostile: tokens that are on the disk because somebody wrote them.
func TestHostile(t *testing.T) {
	tang := clevistest.New(elliptic.P521())
	good := tang.Seal("http://a", []byte(content))
	header := func(text string) json.RawMessage {
		return clevistest.Token(clevistest.Message(text, make([]byte, 32), []byte(content)), 1)
	}
	change := func(old, to string) json.RawMessage {
		return json.RawMessage(strings.Replace(string(clevistest.Token(good, 1)), old, to, 1))
	}
	tagless := regexp.MustCompile(`"tag":"[^"]*"`)
	kid := tang.Thumbprint()
	epk := func(crv, x, y string) string {
		return fmt.Sprintf(`{"alg":"ECDH-ES","clevis":{"pin":"tang","tang":{"url":"http://a"}},"enc":"A256GCM","epk":{"crv":%q,"kty":"EC","x":%q,"y":%q},"kid":%q}`, crv, x, y, kid)
	}
	sss := func(p string, threshold int, shares ...string) string {
		list, _ := json.Marshal(shares)
		return fmt.Sprintf(`{"alg":"dir","clevis":{"pin":"sss","sss":{"jwe":%s,"p":%q,"t":%d}},"enc":"A256GCM"}`, list, p, threshold)
	}
	zero32, zero66 := strings.Repeat("A", 43), strings.Repeat("A", 88)
	const prime = "_____wAAAAEAAAAAAAAAAAAAAAD_______________8" // of P-256
	for _, row := range []struct {
		name  string
		token json.RawMessage
		says  string
	}{
		{"no JSON", json.RawMessage(`{"jwe`), "JSON"},
		{"no message", json.RawMessage(`{"type":"clevis","keyslots":["1"]}`), "reading JSON"},
		{"huge", json.RawMessage(`{"jwe":{"protected":"` + strings.Repeat("A", maxToken) + `"}}`), "the limit is 65536"},
		{"a field twice", json.RawMessage(`{"jwe":{"tag":"","tag":""}}`), "JSON"},
		{"a field in another case", json.RawMessage(`{"jwe":{"TAG":""}}`), "JSON"},
		{"padded base64", json.RawMessage(`{"jwe":{"protected":"e30="}}`), "not base64url"},
		{"another cipher", header(`{"alg":"dir","enc":"A128CBC-HS256"}`), "want A256GCM"},
		{"compressed", header(`{"alg":"dir","enc":"none"}`), "want A256GCM"},
		{"a wrapped key", header(strings.Replace(epk("P-521", zero66, zero66), "ECDH-ES", "ECDH-ES+A256KW", 1)), "want ECDH-ES"},
		{"another pin", header(`{"alg":"dir","enc":"A256GCM","clevis":{"pin":"pkcs11"}}`), `"pkcs11", want tang, tpm2 or sss`},
		{"no pin", header(`{"alg":"dir","enc":"A256GCM"}`), "want tang, tpm2 or sss"},
		{"a key that the plan does not list", clevistest.Token(clevistest.New(elliptic.P521()).Seal("http://a", []byte(content)), 1), "the plan does not allow the tang key"},
		{"a server over TLS", header(strings.Replace(epk("P-256", zero32, zero32), "http://a", "https://a", 1)), "its server: \"https://a\": the plan does not say how to know a server over TLS"},
		{"another curve", header(epk("X25519", zero32, "")), "want P-256, P-384 or P-521"},
		{"a point off the curve", header(epk("P-256", zero32, zero32)), "epk"},
		{"a point of another size", header(epk("P-521", zero32, zero32)), "no key on P-521"},
		{"shares without a prime", header(sss("", 1, good)), "no prime"},
		{"an even modulus", header(sss("_____wAAAAEAAAAAAAAAAAAAAAD______________-4", 1, good)), ""},
		{"a small prime", header(sss("Bw", 1, good)), "no prime of 256 bits"},
		{"no shares", header(sss(prime, 0)), "0 of 0 shares"},
		{"a negative threshold", header(sss(prime, -1, good)), "-1 of 1 shares"},
		{"more than there are", header(sss(prime, 2, good)), "2 of 1 shares"},
		{"shares by another prime", header(sss(prime, 1, good)), "share has 47 bytes, want 64"},
		{"a share that is none", header(sss(prime, 1, "a.b")), "2 parts"},
		{"shares by a key that is agreed on", header(strings.Replace(sss(prime, 1, good), "dir", "ECDH-ES", 1)), "its alg is \"ECDH-ES\", want dir"},
		{"sealed by a key that is agreed on", header(`{"alg":"ECDH-ES","enc":"A256GCM","clevis":{"pin":"tpm2","tpm2":{"hash":"sha256","key":"ecc","jwk_pub":"AAA","jwk_priv":"AAA"}}}`), "its alg is \"ECDH-ES\", want dir"},
		{"a wrapped key beside it", change(`"encrypted_key":""`, `"encrypted_key":"AA"`), "its key is wrapped"},
		{"a short iv", change(`"iv":`, `"iv":"AAAA","IV2":`), "its iv has 3 bytes"},
		{"no tag", json.RawMessage(tagless.ReplaceAllString(string(clevistest.Token(good, 1)), `"tag":""`)), "its tag 0, want 12 and 16"},
		{"no content", clevistest.Token(clevistest.Message(`{"alg":"dir","enc":"A256GCM"}`, make([]byte, 32), nil), 1), "holds nothing"},
		{"seventeen messages", header(sss(prime, 16, strings.Split(strings.Repeat(good+" ", 16), " ")[:16]...)), "more than 16"},
	} {
		s := &Clevis{Allowed: []string{kid}, Asker: lan{"http://a:80": tang}}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second) // nobody is to be asked
		_, err := s.token(ctx, token(row.token))
		cancel()
		if err == nil || codes.Of(err) != CodeToken || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: %v, want %s with %q", row.name, err, CodeToken, row.says)
		}
	}
}

// TestServers: what people put into the plan is in the token.
func TestServers(t *testing.T) {
	a, b := clevistest.New(elliptic.P521()), clevistest.New(elliptic.P256())
	one := func(share []byte) string { return a.Seal("http://a", share) }
	two := func(share []byte) string { return b.Seal("http://b", share) }
	nested := func(share []byte) string { return clevistest.Share(1, share, two) }
	got := Servers(clevistest.Token(clevistest.Share(2, []byte(content), one, nested), 1))
	if len(got) != 2 || got[0] != (Server{"http://a", a.Thumbprint()}) || got[1] != (Server{"http://b", b.Thumbprint()}) {
		t.Errorf("Servers = %v, want those at a and b", got)
	}
	if got := Servers(json.RawMessage(`{"jwe":{}}`)); got != nil {
		t.Errorf("Servers of nonsense = %v", got)
	}
}

// TestJoin: shares that are the same, or no points.
func TestJoin(t *testing.T) {
	f, err := newField("_____wAAAAEAAAAAAAAAAAAAAAD_______________8")
	if err != nil {
		t.Fatal(err)
	}
	share := func(x, y byte) secret.Bytes {
		b := make([]byte, 64)
		b[31], b[63] = x, y
		return secret.Own(b)
	}
	for _, row := range []struct {
		name   string
		shares []secret.Bytes
		want   int // -1: an error
	}{
		{"a line", []secret.Bytes{share(1, 5), share(2, 7)}, 3},
		{"one point", []secret.Bytes{share(9, 4)}, 4},
		{"the same twice", []secret.Bytes{share(1, 5), share(1, 5)}, -1},
		{"at zero", []secret.Bytes{share(0, 5), share(1, 5)}, -1},
		{"short", []secret.Bytes{secret.Make(63)}, -1},
		{"beyond the field", []secret.Bytes{secret.Own([]byte(strings.Repeat("\xff", 64)))}, -1},
	} {
		key, err := f.join(row.shares)
		if got := -1; (err == nil) != (row.want >= 0) {
			t.Errorf("%s: %v", row.name, err)
		} else if err == nil {
			if got = int(key.Reveal()[31]); got != row.want {
				t.Errorf("%s: %d, want %d", row.name, got, row.want)
			}
		}
	}
}

// FuzzToken: whatever stands in a token, it is judged without a panic, and
// what is asked of servers goes only to keys that the plan allows.
func FuzzToken(f *testing.F) {
	tang := clevistest.New(elliptic.P256())
	f.Add([]byte(clevistest.Token(tang.Seal("http://a", []byte(content)), 1)))
	f.Add([]byte(clevistest.Token(clevistest.Share(1, []byte(content), func(s []byte) string { return tang.Seal("http://a", s) }), 1)))
	f.Fuzz(func(t *testing.T, text []byte) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		s := &Clevis{Allowed: []string{tang.Thumbprint()}, Asker: lan{"http://a:80": tang}}
		s.token(ctx, token(text))
		Servers(text)
		if j, err := parseToken(text); err == nil {
			if x, err := j.exchange(); err == nil {
				x.open(text)
			}
		}
	})
}
