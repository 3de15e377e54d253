package wrapping_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"latchkey/internal/secret"
	"latchkey/kms/wrapping"
)

// vaultEnv names the program that images/vault builds.
const vaultEnv = "LATCHKEY_VAULT"

// A vault is a real one, in memory.
type vault struct {
	t                *testing.T
	at, root, unseal string
}

func startVault(t *testing.T) *vault {
	t.Helper()
	path := os.Getenv(vaultEnv)
	if path == "" {
		t.Skip("needs " + vaultEnv + "=$(images/vault)")
	}
	c := exec.Command(path)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	v := &vault{t: t, at: strings.TrimSpace(line)}
	made := v.do("PUT", "sys/init", `{"secret_shares":1,"secret_threshold":1}`)
	v.root, v.unseal = made["root_token"].(string), made["keys"].([]any)[0].(string)
	v.open()
	return v
}

func (v *vault) open() { v.do("PUT", "sys/unseal", `{"key":"`+v.unseal+`"}`) }

// do asks as root.
func (v *vault) do(method, path, body string) (answer map[string]any) {
	v.t.Helper()
	r, err := http.NewRequest(method, v.at+"/v1/"+path, bytes.NewReader([]byte(body)))
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("X-Vault-Token", v.root)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	if response.StatusCode/100 != 2 {
		v.t.Fatalf("%s %s: %s %s", method, path, response.Status, text)
	}
	json.Unmarshal(text, &answer)
	return answer
}

// What the documentation says of the API is so: a role with the policy of
// docs/wrapping.md, a key that is rotated, versions that end, a seal.
func TestTransitOfVault(t *testing.T) {
	v := startVault(t)
	v.do("POST", "sys/mounts/transit", `{"type":"transit"}`)
	v.do("POST", "transit/keys/latchkey", `{}`)
	v.do("POST", "sys/auth/approle", `{"type":"approle"}`)
	policy := "path \"transit/encrypt/latchkey\" { capabilities = [\"update\"] }\npath \"transit/decrypt/latchkey\" { capabilities = [\"update\"] }"
	text, _ := json.Marshal(map[string]string{"policy": policy})
	v.do("PUT", "sys/policies/acl/latchkey-kms", string(text))
	v.do("POST", "auth/approle/role/kms", `{"token_policies":["latchkey-kms"],"token_ttl":"60s"}`)
	role := v.do("GET", "auth/approle/role/kms/role-id", "")["data"].(map[string]any)["role_id"].(string)
	proof := v.do("POST", "auth/approle/role/kms/secret-id", `{}`)["data"].(map[string]any)["secret_id"].(string)
	d := wrapping.Transit{Address: v.at, Mount: "transit", Key: "latchkey", Login: &wrapping.TransitLogin{
		Path: "auth/approle/login", Name: "role_id", NameOf: role, Secret: "secret_id", FileOf: kept(t, []byte(proof)),
	}}

	key := secret.Random(wrapping.KeySize)
	material, err := d.Wrap(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	path := kept(t, material)
	comes := func(when string) {
		t.Helper()
		if back, err := d.Unwrap(t.Context(), path); err != nil || !back.Equal(key) {
			t.Errorf("%s: Unwrap = %v, %v, want the key", when, back, err)
		}
	}
	stays := func(when, want string, d wrapping.Transit) {
		t.Helper()
		if _, err := d.Unwrap(t.Context(), path); !errors.Is(err, wrapping.ErrAway) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: Unwrap = %v, want %s", when, err, want)
		}
	}
	comes("at first")
	v.do("POST", "transit/keys/latchkey/rotate", `{}`)
	comes("after a rotation")
	v.do("POST", "transit/keys/latchkey/config", `{"min_decryption_version":2}`)
	stays("after its version ended", "lower min_decryption_version", d)
	v.do("POST", "transit/keys/latchkey/config", `{"min_decryption_version":1}`)

	other := d
	other.Key = "other"
	stays("another key", "403 Forbidden", other)
	other = d
	other.Login, other.TokenFile = nil, kept(t, []byte("hvs.none"))
	stays("no such token", "the token has ended", other)
	other.TokenFile = kept(t, []byte(v.root))
	other.Key = "none"
	stays("no such key", "encryption key not found", other)
	other.Mount = "none"
	stays("no such mount", "there is no such mount", other)
	v.do("PUT", "sys/seal", "")
	stays("sealed", "it is sealed or starting; unseal it", d)
	v.open()
	comes("unsealed")
}
