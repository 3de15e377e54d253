package main

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

// The example of docs/wrapping.md, against a server that gives what it was
// given under a name. What the API is, kms/wrapping tests.
func TestWrappingByTransit(t *testing.T) {
	k, dir := newWrapped(t), t.TempDir()
	away := false
	bao := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in map[string]string
		json.NewDecoder(r.Body).Decode(&in)
		give := func(v map[string]map[string]string) { json.NewEncoder(w).Encode(v) }
		switch path := r.URL.Path; {
		case away:
			http.Error(w, `{"errors":["Vault is sealed"]}`, http.StatusServiceUnavailable)
		case path == "/v1/auth/approle/login" && in["role_id"] != "" && in["secret_id"] == "proof":
			give(map[string]map[string]string{"auth": {"client_token": "hvs.x"}})
		case r.Header.Get("X-Vault-Token") != "hvs.x":
			http.Error(w, `{"errors":["permission denied"]}`, http.StatusForbidden)
		case path == "/v1/transit/encrypt/latchkey":
			give(map[string]map[string]string{"data": {"ciphertext": "vault:v1:" + in["plaintext"]}})
		case path == "/v1/transit/decrypt/latchkey":
			give(map[string]map[string]string{"data": {"plaintext": strings.TrimPrefix(in["ciphertext"], "vault:v1:")}})
		}
	}))
	defer bao.Close()
	ca, proof := filepath.Join(dir, "bao.pem"), filepath.Join(dir, "secret-id")
	writeFile(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: bao.Certificate().Raw})))
	writeFile(t, proof, "proof\n")
	text := strings.NewReplacer("https://bao.example.com:8200", bao.URL, "/etc/latchkey/bao.pem", ca, "/etc/latchkey/bao-secret-id", proof).
		Replace(wrappingExample(t, "https://bao.example.com:8200"))
	config := k.moves(t, text)
	away = true
	k.fails("Vault is sealed: it is sealed or starting; unseal it", "store", "check", "--config", config)
}
