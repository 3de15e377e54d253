package clevis

import (
	"context"
	"crypto"
	"crypto/elliptic"
	"reflect"
	"strings"
	"testing"
	"time"

	"latchkey/boot/codes"
	"latchkey/internal/secret"
	"latchkey/unlock/source/clevis/clevistest"
	"latchkey/unlock/tpm"
)

// chip is a TPM that has sealed one text; it notes what it was given.
type chip struct {
	text string
	err  error
	got  *tpm.Sealed
}

func (c chip) Unseal(_ context.Context, o tpm.Sealed) (secret.Bytes, error) {
	*c.got = o
	return secret.Own([]byte(c.text)), c.err
}

// TestTPM2: what clevis sealed is handed to the TPM as it was sealed, and
// what comes out of it opens the message.
func TestTPM2(t *testing.T) {
	good := clevistest.Sealed{Hash: "sha256", Key: "ecc", Public: clevistest.TPM2B("public"), Private: clevistest.TPM2B("private")}
	with := func(change func(*clevistest.Sealed)) clevistest.Sealed {
		s := good
		change(&s)
		return s
	}
	want := func(template tpm.Template, policy ...tpm.Policy) tpm.Sealed {
		return tpm.Sealed{Parent: tpm.Parent{Template: template}, Public: []byte("public"), Private: []byte("private"), Policy: policy}
	}
	for _, row := range []struct {
		name   string
		sealed clevistest.Sealed
		want   tpm.Sealed
		says   string
	}{
		{"no policy", good, want(tpm.PlainP256), ""},
		{"RSA", with(func(s *clevistest.Sealed) { s.Key = "rsa" }), want(tpm.PlainRSA2048), ""},
		{"PCRs", with(func(s *clevistest.Sealed) { s.Bank, s.PCRs = "sha256", "7" }), want(tpm.PlainP256, tpm.PCRs{Bank: crypto.SHA256, PCRs: []int{7}}), ""},
		{"PCRs of sha1, with spaces", with(func(s *clevistest.Sealed) { s.Bank, s.PCRs = "sha1", "0, 23" }), want(tpm.PlainP256, tpm.PCRs{Bank: crypto.SHA1, PCRs: []int{0, 23}}), ""},
		{"another storage key", with(func(s *clevistest.Sealed) { s.Key = "keyedhash" }), tpm.Sealed{}, `"keyedhash", want ecc or rsa`},
		{"another hash", with(func(s *clevistest.Sealed) { s.Hash = "sha1" }), tpm.Sealed{}, `"sha1", want sha256`},
		{"another bank", with(func(s *clevistest.Sealed) { s.Bank, s.PCRs = "sm3_256", "7" }), tpm.Sealed{}, `"sm3_256", want sha1`},
		{"no PCR", with(func(s *clevistest.Sealed) { s.Bank, s.PCRs = "sha256", "," }), tpm.Sealed{}, "numbers from 0 to 23"},
		{"a PCR too many", with(func(s *clevistest.Sealed) { s.Bank, s.PCRs = "sha256", "24" }), tpm.Sealed{}, "numbers from 0 to 23"},
		{"no length", with(func(s *clevistest.Sealed) { s.Public = "AA" }), tpm.Sealed{}, "jwk_pub has not the length"},
		{"another length", with(func(s *clevistest.Sealed) { s.Private = "AAI" }), tpm.Sealed{}, "jwk_priv has not the length"},
	} {
		message, jwk := row.sealed.Seal([]byte(content))
		text := clevistest.Token(message, 1)
		var got tpm.Sealed
		s := &Clevis{Sealed: []string{good.Digest()}, TPM: func(context.Context) (Unsealer, error) { return chip{jwk, nil, &got}, nil }}
		key, err := s.token(t.Context(), token(text))
		if row.says != "" {
			if codes.Of(err) != CodeToken || !strings.Contains(err.Error(), row.says) || len(got.Public) > 0 || Sealed(text) != nil {
				t.Errorf("%s: %v, Sealed = %v, want %s with %q and nothing", row.name, err, Sealed(text), CodeToken, row.says)
			}
			continue
		}
		if err != nil || string(key.Reveal()) != content || !reflect.DeepEqual(got, row.want) {
			t.Errorf("%s: %q, %v by %+v, want the content by %+v", row.name, key.Reveal(), err, got, row.want)
		}
		if all := Sealed(text); len(all) != 1 || all[0] != good.Digest() {
			t.Errorf("%s: Sealed = %v, want %s", row.name, all, good.Digest())
		}
	}
}

// TestTPM2Trust: a sealed secret that the plan does not list is not unsealed,
// and what comes out is judged.
func TestTPM2Trust(t *testing.T) {
	sealed := clevistest.Sealed{Hash: "sha256", Key: "ecc", Public: clevistest.TPM2B("public"), Private: clevistest.TPM2B("private")}
	message, jwk := sealed.Seal([]byte(content))
	missing := codes.Fail(codes.TPMMissing, "there is none")
	for _, row := range []struct {
		name    string
		allowed string
		text    string
		err     error // of the TPM
		code    string
		says    string
	}{
		{"listed", sealed.Digest(), jwk, nil, "", ""},
		{"not listed", strings.Repeat("0", 64), jwk, nil, CodeToken, "the plan does not allow its sealed secret " + sealed.Digest()},
		{"no TPM", sealed.Digest(), jwk, missing, codes.TPMMissing, "there is none"},
		{"no JSON", sealed.Digest(), "a passphrase", nil, CodeToken, "what the TPM unsealed"},
		{"another kind of key", sealed.Digest(), strings.Replace(jwk, "oct", "EC", 1), nil, CodeToken, "no JWK of kind oct"},
		{"no key", sealed.Digest(), `{"kty":"oct"}`, nil, CodeToken, "no JWK of kind oct"},
		{"a number for a key", sealed.Digest(), `{"kty":"oct","k":1234}`, nil, CodeToken, "no JWK of kind oct"},
		{"a short key", sealed.Digest(), `{"kty":"oct","k":"AAAA"}`, nil, CodeToken, "not of 256 bits"},
		{"no base64", sealed.Digest(), `{"kty":"oct","k":"A A="}`, nil, CodeToken, "not of 256 bits"},
		{"the key of another message", sealed.Digest(), `{"kty":"oct","k":"` + strings.Repeat("A", 43) + `"}`, nil, CodeToken, "tag does not match"},
	} {
		var got tpm.Sealed
		s := &Clevis{Sealed: []string{row.allowed}, TPM: func(context.Context) (Unsealer, error) { return chip{row.text, nil, &got}, row.err }}
		key, err := s.token(t.Context(), token(clevistest.Token(message, 1)))
		if codes.Of(err) != row.code || err != nil && !strings.Contains(err.Error(), row.says) || err == nil && string(key.Reveal()) != content {
			t.Errorf("%s: %q, %v, want %s with %q", row.name, key.Reveal(), err, row.code, row.says)
		}
	}
}

// TestTPM2Share: as one of several shares, with a tang server.
func TestTPM2Share(t *testing.T) {
	tang := clevistest.New(elliptic.P256())
	sealed := clevistest.Sealed{Hash: "sha256", Key: "ecc", Public: clevistest.TPM2B("public"), Private: clevistest.TPM2B("private")}
	for _, row := range []struct {
		name      string
		threshold int
		pin       string // another share's
		err       error  // of the TPM
		dead      bool   // the tang server is
		code      string
	}{
		{"both", 2, "", nil, false, ""},
		{"either, without a TPM", 1, "", codes.Fail(codes.TPMMissing, "there is none"), false, ""},
		{"either, without a server", 1, "", nil, true, ""},
		{"both, without a TPM and a server: at once", 2, "", codes.Fail(codes.TPMMissing, "there is none"), true, codes.TPMMissing},
		{"both, without a TPM", 2, "", codes.Fail(codes.TPMMissing, "there is none"), false, codes.TPMMissing},
		{"two of three, one of them a smart card", 2, "pkcs11", nil, false, ""},
		{"all three, one of them a smart card", 3, "pkcs11", nil, false, CodeToken},
	} {
		var jwk string
		shares := []func([]byte) string{
			func(share []byte) string { return tang.Seal("http://a", share) },
			func(share []byte) (message string) { message, jwk = sealed.Seal(share); return message },
		}
		if row.pin != "" {
			shares = append(shares, func(share []byte) string {
				return clevistest.Message(`{"alg":"dir","enc":"A256GCM","clevis":{"pin":"`+row.pin+`"}}`, make([]byte, 32), share)
			})
		}
		text := clevistest.Token(clevistest.Share(row.threshold, []byte(content), shares...), 1)
		var got tpm.Sealed
		s := &Clevis{
			Allowed: []string{tang.Thumbprint()}, Sealed: Sealed(text), Asker: lan{"http://a:80": tang},
			TPM: func(context.Context) (Unsealer, error) { return chip{jwk, nil, &got}, row.err },
		}
		if row.dead {
			s.Asker = lan{}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		began := time.Now()
		key, err := s.token(ctx, token(text))
		cancel()
		if codes.Of(err) != row.code || err == nil && string(key.Reveal()) != content || time.Since(began) >= time.Minute {
			t.Errorf("%s: %q, %v, want %q", row.name, key.Reveal(), err, row.code)
		}
	}
}
