package main

import (
	"github.com/spf13/pflag"
)

// A storeSection says where the KMS keeps its state. docs/stores.md
// describes it.
type storeSection struct {
	At          string `yaml:"at" restart:"yes"`          // bolt:PATH, etcd:URLS/PREFIX, kube:NAMESPACE
	CA          string `yaml:"ca" restart:"yes"`          // PEM: who the store's certificate is from
	Certificate string `yaml:"certificate" restart:"yes"` // PEM: ours
	Key         string `yaml:"key" restart:"yes"`
	WriteBack   string `yaml:"write-back" restart:"yes"` // kube: what Kairos' operator would write: volumes, or secrets too
}

// What is written back to a cluster.
const (
	writeVolumes = "volumes" // SealedVolumes of nodes that it does not list
	writeSecrets = "secrets" // those, and Secrets with the passphrases that were made here
)

// check implements section.
func (s *storeSection) check() error {
	p := place{}
	if s.At != "" {
		var err error
		if p, err = parsePlace(s.At, *s); err != nil {
			return faultf("at", "%w", err)
		}
	}

	switch {
	case s.WriteBack == "":
	case s.WriteBack != writeVolumes && s.WriteBack != writeSecrets:
		return faultf("write-back", "%q must be volumes or secrets", s.WriteBack)
	case p.kind != "kube":
		return faultf("write-back", "it is for a store kube:NAMESPACE")
	}

	return nil
}

// flags adds the flags of all commands.
func (s *storeSection) flags(f *pflag.FlagSet) {
	f.StringVar(&s.At, "store", "", "where the state is kept: bolt:PATH, etcd:https://HOST:2379,HOST:2379/PREFIX or kube:NAMESPACE (default: kms.db in the data directory)")
	f.StringVar(&s.CA, "store-ca", "", "PEM file of the authority that the store's certificate is from")
	f.StringVar(&s.Certificate, "store-cert", "", "PEM file of the certificate to show to the store")
	f.StringVar(&s.WriteBack, "store-write-back", "", "kube, with protocol kairos: what the cluster does not list is written there: volumes (SealedVolumes), or secrets (those, and generated passphrases in clear)")
	f.StringVar(&s.Key, "store-key", "", "PEM file of the key of --store-cert")
}

// over takes what no flag said.
func (s *storeSection) over(file storeSection, f *pflag.FlagSet) {
	for _, one := range []struct {
		flag     string
		to, from *string
	}{{"store", &s.At, &file.At}, {"store-ca", &s.CA, &file.CA}, {"store-cert", &s.Certificate, &file.Certificate}, {"store-key", &s.Key, &file.Key}, {"store-write-back", &s.WriteBack, &file.WriteBack}} {
		if !f.Changed(one.flag) {
			*one.to = *one.from
		}
	}
}
