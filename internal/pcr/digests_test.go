package pcr_test

import (
	"crypto"
	_ "crypto/md5"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"latchkey/internal/pcr"
)

// openssl is the oracle of every bank, with and without a secret.
func openssl(t *testing.T, data string, args ...string) string {
	t.Helper()
	cmd := exec.Command("openssl", append([]string{"dgst", "-r"}, args...)...)
	cmd.Stdin = strings.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("needs openssl: run images/deps (%v)", err)
	}
	sum, _, _ := strings.Cut(string(out), " ")
	return sum
}

func TestMeasure(t *testing.T) {
	const text = "cryptsetup:root:6d9a2c7e-0b1f-4b7e-9d2c-3f5a8e1b4c60"
	plain, keyed := pcr.Measure([]byte(text)), pcr.MeasureSecret([]byte("volume-key"), []byte(text))
	for name, bank := range map[string]crypto.Hash{"sha1": crypto.SHA1, "sha256": crypto.SHA256, "sha384": crypto.SHA384, "sha512": crypto.SHA512} {
		if got, want := fmt.Sprintf("%x", plain.Of(bank)), openssl(t, text, "-"+name); got != want {
			t.Errorf("Measure, bank %s = %s, openssl says %s", name, got, want)
		}
		if got, want := fmt.Sprintf("%x", keyed.Of(bank)), openssl(t, text, "-"+name, "-hmac", "volume-key"); got != want {
			t.Errorf("MeasureSecret, bank %s = %s, openssl says %s", name, got, want)
		}
		if got := pcr.Bank(name); got != bank {
			t.Errorf("Bank(%q) = %v, want %v", name, got, bank)
		}
	}
	if plain.Of(crypto.MD5) != nil || pcr.Bank("sm3_256") != 0 {
		t.Error("a bank that Digests does not have got a digest or a name")
	}
}
