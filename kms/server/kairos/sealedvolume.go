package kairos

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"latchkey/internal/secret"
	"latchkey/kms"
)

// volumeDocument is a SealedVolume as it stands in a file.
type volumeDocument struct {
	APIVersion string    `yaml:"apiVersion"`
	Kind       string    `yaml:"kind"`
	Metadata   metadata  `yaml:"metadata"`
	Status     yaml.Node `yaml:"status"` // the cluster's
	Spec       struct {
		TPMHash     string              `yaml:"TPMHash"`
		Partitions  []partitionDocument `yaml:"partitions"`
		Quarantined bool                `yaml:"quarantined"`
		Attestation *struct {
			EK           string `yaml:"ekPublicKey"`
			EnrolledAt   string `yaml:"enrolledAt"`
			LastVerified string `yaml:"lastVerifiedAt"`
			PCRValues    *struct {
				PCRs map[string]string `yaml:"pcrs"`
			} `yaml:"pcrValues"`
		} `yaml:"attestation"`
	} `yaml:"spec"`
}

type partitionDocument struct {
	Label      string `yaml:"label"`
	DeviceName string `yaml:"deviceName"`
	UUID       string `yaml:"uuid"`
	Secret     *struct {
		Name string `yaml:"name"`
		Path string `yaml:"path"`
	} `yaml:"secret"`
}

func (out *Documents) addVolume(node *yaml.Node) error {
	var d volumeDocument
	if err := strictly(node, &d); err != nil {
		return err
	}

	if err := checkDocumentName("SealedVolume", d.Metadata.Name); err != nil {
		return err
	}
	hash, err := kms.ParseNodeID(strings.ToLower(d.Spec.TPMHash))
	if err != nil {
		return fmt.Errorf("SealedVolume %s: TPMHash: %w", d.Metadata.Name, err)
	}

	v := SealedVolume{Name: d.Metadata.Name, Hash: hash, Quarantined: d.Spec.Quarantined}
	for i, p := range d.Spec.Partitions {
		one, err := p.partition()
		if err != nil {
			return fmt.Errorf("SealedVolume %s: partition %d: %w", v.Name, i+1, err)
		}
		v.Partitions = append(v.Partitions, one)
	}

	if err := d.attestation(&v); err != nil {
		return fmt.Errorf("SealedVolume %s: %w", v.Name, err)
	}
	out.Volumes = append(out.Volumes, v)
	return nil
}

// attestation: an EK that is given must be the one that the hash names.
func (d *volumeDocument) attestation(v *SealedVolume) error {
	a := d.Spec.Attestation
	if a == nil {
		return nil
	}

	if a.EK != "" {
		hash, err := HashOfPEM([]byte(a.EK))
		if err != nil {
			return err
		}
		if hash != v.Hash {
			return errors.New("ekPublicKey is another TPM's than TPMHash")
		}
	}

	if a.PCRValues == nil {
		return nil
	}
	v.PCRs = map[string]string{}
	for index, value := range a.PCRValues.PCRs {
		v.PCRs[index] = value
	}

	return checkPCRs(v.PCRs)
}

func (p *partitionDocument) partition() (Partition, error) {
	out := Partition{Label: p.Label, Device: p.DeviceName, UUID: p.UUID}
	if p.Label == "" && p.DeviceName == "" && p.UUID == "" {
		return out, errors.New("it has neither label nor deviceName nor uuid")
	}

	for _, s := range []string{p.Label, p.DeviceName, p.UUID} {
		if err := checkName(s); err != nil {
			return out, fmt.Errorf("%.32q: %w", s, err)
		}
	}

	if p.Secret == nil || p.Secret.Name == "" && p.Secret.Path == "" {
		return out, nil
	}
	out.Secret, out.Key = p.Secret.Name, p.Secret.Path
	if out.Key == "" {
		out.Key = DefaultKey
	}

	if out.Secret == "" {
		return out, nil // the default name, another key
	}
	return out, checkDocumentName("secret", out.Secret)
}

// DefaultKey is a Secret's key when a document names none.
const DefaultKey = "passphrase"

// secretDocument is a Secret as it stands in a file.
type secretDocument struct {
	APIVersion string            `yaml:"apiVersion"`
	Kind       string            `yaml:"kind"`
	Metadata   metadata          `yaml:"metadata"`
	Type       string            `yaml:"type"`
	Immutable  bool              `yaml:"immutable"`
	Data       map[string]string `yaml:"data"`
	StringData map[string]string `yaml:"stringData"`
}

func (out *Documents) addSecret(node *yaml.Node) error {
	var d secretDocument
	if err := strictly(node, &d); err != nil {
		return err
	}

	if err := checkDocumentName("Secret", d.Metadata.Name); err != nil {
		return err
	}
	s := Secret{Name: d.Metadata.Name, Data: map[string]secret.Bytes{}}
	out.Secrets = append(out.Secrets, s) // wiped from here on

	for key, text := range d.Data {
		value, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return fmt.Errorf("Secret %s: key %.64q is not base64", s.Name, key)
		}
		s.Data[key] = secret.Own(value)
	}

	for key, text := range d.StringData { // these win, as in Kubernetes
		s.Data[key] = secret.Own([]byte(text))
	}
	for key, value := range s.Data {
		if value.Len() == 0 || value.Len() > kms.MaxSecret {
			return fmt.Errorf("Secret %s: key %.64q has %d bytes, not 1 to %d", s.Name, key, value.Len(), kms.MaxSecret)
		}
	}

	if len(s.Data) == 0 {
		return fmt.Errorf("Secret %s: it has no data", s.Name)
	}
	return nil
}
