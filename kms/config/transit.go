package config

import (
	"net/netip"
	"net/url"
	"regexp"
)

// A WrappingTransit is the transit engine of an OpenBao or Vault that keeps
// the wrapping key.
type WrappingTransit struct {
	Address    string            `yaml:"address"` // https://host:8200
	Key        string            `yaml:"key"`     // its name in the engine
	Mount      string            `yaml:"mount"`   // "" is transit
	Namespace  string            `yaml:"namespace"`
	CA         string            `yaml:"ca"`         // PEM file; "" is the system's
	TokenFile  string            `yaml:"token-file"` // read each time
	AppRole    TransitAppRole    `yaml:"approle"`
	Kubernetes TransitKubernetes `yaml:"kubernetes"`
}

// A TransitAppRole logs in as a role by a secret ID.
type TransitAppRole struct {
	Mount    string `yaml:"mount"` // "" is approle
	RoleID   string `yaml:"role-id"`
	SecretID string `yaml:"secret-id-file"`
}

// A TransitKubernetes logs in by a service account's token.
type TransitKubernetes struct {
	Mount string `yaml:"mount"` // "" is kubernetes
	Role  string `yaml:"role"`
	Token string `yaml:"token-file"` // "" is the pod's
}

// PodToken is where a pod has the token of its service account.
const PodToken = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// Set tells whether the section says anything.
func (t *WrappingTransit) Set() bool { return *t != WrappingTransit{} }

// inPath is what may stand in a path of that API as it is.
var inPath = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$`)

func (t *WrappingTransit) check() error {
	if !t.Set() {
		return nil
	}
	u, err := url.Parse(t.Address)
	if err != nil || u.Host == "" || u.Path != "" && u.Path != "/" || u.User != nil || u.RawQuery != "" || u.Scheme != "https" && u.Scheme != "http" {
		return faultf("address", "%.200q must be https://HOST:PORT", t.Address)
	}
	ip, err := netip.ParseAddr(u.Hostname())
	agent := err == nil && ip.IsLoopback() // on this host, which may add the token
	if u.Scheme == "http" && !agent {
		return faultf("address", "%.200q must be https: who reads the answer has the key; http is for an agent on 127.0.0.1", t.Address)
	}
	t.Address = u.Scheme + "://" + u.Host

	if t.Key == "" {
		return faultf("key", "name the key of the transit engine")
	}
	for key, name := range map[string]string{"key": t.Key, "mount": t.Mount, "approle.mount": t.AppRole.Mount, "kubernetes.mount": t.Kubernetes.Mount} {
		if name != "" && !inPath.MatchString(name) {
			return faultf(key, "%.64q is no name in a path", name)
		}
	}
	ways := 0
	for _, set := range []bool{t.TokenFile != "", t.AppRole != TransitAppRole{}, t.Kubernetes != TransitKubernetes{}} {
		if set {
			ways++
		}
	}
	switch {
	case ways > 1 || ways == 0 && !agent:
		return faultf("", "say how to log in: one of token-file, approle and kubernetes")
	case t.AppRole != TransitAppRole{} && (t.AppRole.RoleID == "" || t.AppRole.SecretID == ""):
		return faultf("approle", "it needs role-id and secret-id-file")
	case t.Kubernetes != TransitKubernetes{} && t.Kubernetes.Role == "":
		return faultf("kubernetes", "it needs role")
	}
	return nil
}
