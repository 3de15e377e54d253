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
}

// check implements section.
func (s *storeSection) check() error {
	if s.At == "" {
		return nil
	}
	if _, err := parsePlace(s.At, *s); err != nil {
		return faultf("at", "%w", err)
	}
	return nil
}

// flags adds the flags of all commands.
func (s *storeSection) flags(f *pflag.FlagSet) {
	f.StringVar(&s.At, "store", "", "where the state is kept: bolt:PATH, etcd:https://HOST:2379,HOST:2379/PREFIX or kube:NAMESPACE (default: kms.db in the data directory)")
	f.StringVar(&s.CA, "store-ca", "", "PEM file of the authority that the store's certificate is from")
	f.StringVar(&s.Certificate, "store-cert", "", "PEM file of the certificate to show to the store")
	f.StringVar(&s.Key, "store-key", "", "PEM file of the key of --store-cert")
}

// over takes what no flag said.
func (s *storeSection) over(file storeSection, f *pflag.FlagSet) {
	for _, one := range []struct {
		flag     string
		to, from *string
	}{{"store", &s.At, &file.At}, {"store-ca", &s.CA, &file.CA}, {"store-cert", &s.Certificate, &file.Certificate}, {"store-key", &s.Key, &file.Key}} {
		if !f.Changed(one.flag) {
			*one.to = *one.from
		}
	}
}
