package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a section wrapping cannot say, and where that stands.
func TestWrongWrapping(t *testing.T) {
	transit := func(more string) string {
		return "wrapping: {transit: {address: \"https://bao:8200\", key: k" + more + "}}"
	}
	for text, want := range map[string]string{
		"wrapping: {exec: {wrap: [/bin/cat]}}":                                           `wrapping.exec.unwrap: the program "" must be named`,
		"wrapping: {exec: {unwrap: [cat]}}":                                              `wrapping.exec.unwrap: the program "cat" must be named by its whole path`,
		"wrapping: {exec: {unwrap: [/bin/cat], wrap: [cat]}}":                            `wrapping.exec.wrap: the program "cat" must`,
		"wrapping: {exec: {unwrap: [/bin/cat], environment: [x]}}":                       `wrapping.exec.environment[0]: "x" must be NAME=value`,
		"wrapping: {exec: {unwrap: [/bin/cat], timeout: 2h}}":                            "wrapping.exec.timeout: the timeout 2h0m0s must",
		"wrapping: {exec: {unwrap: [/bin/cat]}, tpm: /dev/tpmrm0}":                       "wrapping: key, passphrase, tpm, exec, transit and shares are mutually exclusive",
		"wrapping: {transit: {key: k, token-file: t}}":                                   `wrapping.transit.address: "" must be https://HOST:PORT`,
		"wrapping: {transit: {address: \"http://192.0.2.1:8200\", key: k}}":              "must be https: who reads the answer has the key",
		"wrapping: {transit: {address: \"https://bao:8200/v1\", key: k, token-file: t}}": "must be https://HOST:PORT",
		"wrapping: {transit: {address: \"https://bao:8200\", token-file: t}}":            "wrapping.transit.key: name the key",
		"wrapping: {shares: 3}":                                                          `wrapping.shares: "3" must be such as 3/5`,
		"wrapping: {shares: 1/3}":                                                        `wrapping.shares: "1/3" must`,
		"wrapping: {shares: 4/3}":                                                        `wrapping.shares: "4/3" must`,
		"wrapping: {shares: 3/65}":                                                       `wrapping.shares: "3/65" must`,
		transit(""):                                                                      "say how to log in: one of token-file, approle and kubernetes",
		transit(", token-file: t, kubernetes: {role: r}"):                                "say how to log in",
		transit(", approle: {role-id: r}"):                                               "wrapping.transit.approle: it needs role-id and secret-id-file",
		transit(", kubernetes: {mount: m}"):                                              "wrapping.transit.kubernetes: it needs role",
		transit(", token-file: t, mount: ../sys"):                                        "wrapping.transit.mount: \"../sys\" is no name in a path",
		transit(", token-file: t, mount: \"a b\""):                                       `wrapping.transit.mount: "a b" is no name in a path`,
		transit(", token-file: t, mount: \"a/?b\""):                                      `is no name in a path`,
	} {
		_, err := configured(t, text)
		if err == nil || !strings.Contains(err.Error(), "kms.yaml:1: wrapping") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	for _, good := range []string{
		"wrapping: {exec: {unwrap: /bin/cat}}", "wrapping: {shares: 3/5}", transit(", token-file: t"), transit(", mount: team/transit, approle: {role-id: r, secret-id-file: f}"),
		"wrapping: {transit: {address: \"http://127.0.0.1:8200\", key: k}}", "wrapping: {transit: {address: \"https://[::1]:8200/\", key: k}}",
	} {
		if _, err := configured(t, good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
}

// A file for wrapping change must say something, and only that is judged.
func TestReadWrapping(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kms.yaml")
	for text, want := range map[string]string{
		"enroll: nonsense\nwrapping: {key: /k}": "",
		"listen: []":                            "kms.yaml says nothing of it",
		"wrapping: {key: /k, tpm: /t}":          "kms.yaml:1: wrapping: key, passphrase",
		"wrapping: {kee: /k}":                   `unknown key "kee"`,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		w, err := ReadWrapping(path)
		if want == "" && (err != nil || w.Key != "/k") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("ReadWrapping of %s = %+v, %v, want %s", text, w, err, want)
		}
	}
}
