package wrapping

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"latchkey/internal/certfile"
	"latchkey/internal/datafile"
	"latchkey/internal/secret"
)

// A Transit keeps the key by the transit engine of an OpenBao or Vault:
// /v1/MOUNT/encrypt/KEY and decrypt/KEY of its HTTP API. The key of that
// engine never leaves it.
type Transit struct {
	Address   string // https://host:8200
	Mount     string // of the engine
	Key       string // its name there
	Namespace string // "" is none
	CA        string // PEM file; "" is the system's authorities
	TokenFile string // "" for a login, or an agent that adds a token
	Login     *TransitLogin
}

// A TransitLogin gets a token for each use: by AppRole, or by Kubernetes.
type TransitLogin struct {
	Path           string // auth/approle/login
	Name, NameOf   string // what says who asks: role_id, and its value
	Secret, FileOf string // what proves it: secret_id, and its file, read each time
}

// transitTimeout bounds one request.
const transitTimeout = 20 * time.Second

var _ Driver = Transit{}

// Wrap implements Driver. The material is what the engine calls ciphertext:
// vault:v1:….
func (t Transit) Wrap(ctx context.Context, key secret.Bytes) ([]byte, error) {
	plain := base64.StdEncoding.EncodeToString(key.Reveal())
	got, err := t.ask(ctx, "encrypt", map[string]string{"plaintext": plain})
	if err != nil {
		return nil, fmt.Errorf("wrapping the key: %w", err)
	}
	if !strings.HasPrefix(got.Data.Ciphertext, "vault:v") {
		return nil, fmt.Errorf("wrapping the key: %s answered no ciphertext of transit", t.Address)
	}
	return []byte(got.Data.Ciphertext + "\n"), nil
}

// Unwrap implements Driver. Whatever it fails by may pass: somebody unseals
// the other server, renews a token, or corrects a policy.
func (t Transit) Unwrap(ctx context.Context, material string) (secret.Bytes, error) {
	blob, err := readMaterial(material)
	if err != nil {
		return secret.Bytes{}, err
	}
	got, err := t.ask(ctx, "decrypt", map[string]string{"ciphertext": string(bytes.TrimSpace(blob))})
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("unwrapping the wrapping key: %w", err)
	}
	key, err := base64.StdEncoding.DecodeString(got.Data.Plaintext)
	if err != nil || len(key) != KeySize {
		clear(key)
		return secret.Bytes{}, fmt.Errorf("unwrapping the wrapping key: what %s decrypted has not %d bytes", t.Address, KeySize)
	}
	return secret.Own(key), nil
}

// An answer is what is used of one.
type answer struct {
	Data struct {
		Ciphertext string `json:"ciphertext"`
		Plaintext  string `json:"plaintext"`
	} `json:"data"`
	Auth struct {
		Token string `json:"client_token"`
	} `json:"auth"`
	Errors []string `json:"errors"`
}

// ask gets a token and has the engine do something with its key.
func (t Transit) ask(ctx context.Context, what string, body map[string]string) (*answer, error) {
	config, err := certfile.Client(tls.VersionTLS12, t.CA, "", "")
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport: transport, Timeout: transitTimeout,
		// Whoever answers may not send the key elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}

	token, err := t.token(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAway, err)
	}
	got, err := t.post(ctx, client, t.Mount+"/"+what+"/"+t.Key, token, body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAway, err)
	}
	return got, nil
}

// token reads the token or logs in for one.
func (t Transit) token(ctx context.Context, client *http.Client) (string, error) {
	switch {
	case t.TokenFile != "":
		return readLine(t.TokenFile)
	case t.Login == nil:
		return "", nil
	}
	proof, err := readLine(t.Login.FileOf)
	if err != nil {
		return "", err
	}
	got, err := t.post(ctx, client, t.Login.Path, "", map[string]string{t.Login.Name: t.Login.NameOf, t.Login.Secret: proof})
	if err == nil && got.Auth.Token == "" {
		err = errors.New("it gave no token")
	}
	if err != nil {
		return "", fmt.Errorf("logging in: %w", err)
	}
	return got.Auth.Token, nil
}

// maxToken bounds a file of a token, in bytes: JSON Web Tokens are long.
const maxToken = 32 << 10

func readLine(path string) (string, error) {
	b, err := datafile.Read(path, maxToken)
	if err != nil {
		return "", err
	}
	line := string(bytes.TrimSpace(b))
	if line == "" || strings.ContainsFunc(line, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("%s is not one word", path)
	}
	return line, nil
}

func (t Transit) post(ctx context.Context, client *http.Client, path, token string, body map[string]string) (*answer, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.Address+"/v1/"+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Vault-Request", "true") // an agent before it may demand that
	if token != "" {
		r.Header.Set("X-Vault-Token", token)
	}
	if t.Namespace != "" {
		r.Header.Set("X-Vault-Namespace", t.Namespace)
	}

	response, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	said, err := io.ReadAll(io.LimitReader(response.Body, maxMaterial))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.URL, err)
	}
	defer clear(said)
	var a answer
	if err := json.Unmarshal(said, &a); response.StatusCode != http.StatusOK || err != nil {
		return nil, explainTransit(r.URL.String(), response, a.Errors)
	}
	return &a, nil
}

// explainTransit says what an answer that is none means, and what to do.
func explainTransit(url string, r *http.Response, errs []string) error {
	said, advice := oneLine(strings.Join(errs, "; ")), ""
	switch {
	case r.StatusCode == http.StatusServiceUnavailable:
		advice = "it is sealed or starting; unseal it"
	case r.StatusCode == http.StatusForbidden:
		advice = "the token has ended, or its policy lacks update on this path"
	case r.StatusCode == http.StatusNotFound:
		advice = "there is no such mount"
	case r.StatusCode/100 == 3:
		advice = "it sends to " + oneLine(r.Header.Get("Location")) + "; name that server"
	case strings.Contains(said, "too old"):
		advice = "lower min_decryption_version of the key, and then run: latchkey-kms wrapping change"
	case strings.Contains(said, "key not found"):
		advice = "make it: bao write -f transit/keys/NAME"
	case r.StatusCode == http.StatusOK:
		advice = "it is no answer of OpenBao or Vault"
	}
	text := fmt.Sprintf("%s: %s", url, r.Status)
	for _, more := range []string{said, advice} {
		if more != "" {
			text += ": " + more
		}
	}
	return errors.New(text)
}

// oneLine is what somebody else said, as one short line.
func oneLine(said string) string {
	words := strings.FieldsFunc(said, func(r rune) bool { return r <= ' ' || r == 0x7f })
	return fmt.Sprintf("%.200s", strings.Join(words, " "))
}
