package config

// A Store says where the KMS keeps its state. docs/stores.md describes it.
type Store struct {
	At          string    `yaml:"at" restart:"yes"`          // bolt:PATH, etcd:URLS/PREFIX, kube:NAMESPACE
	CA          string    `yaml:"ca" restart:"yes"`          // PEM: who the store's certificate is from
	Certificate string    `yaml:"certificate" restart:"yes"` // PEM: ours
	Key         string    `yaml:"key" restart:"yes"`
	WriteBack   WriteBack `yaml:"write-back" restart:"yes" words:"volumes secrets"`
}

// A WriteBack is what is written to the cluster of a store kube:NAMESPACE,
// as Kairos' operator would write it. Nothing is by default.
type WriteBack string

// What is written back.
const (
	WriteVolumes WriteBack = "volumes" // SealedVolumes of nodes that it does not list
	WriteSecrets WriteBack = "secrets" // those, and Secrets with the passphrases that were made here
)

// Parse reads a place; the section's files are what it does not say.
func (s *Store) Parse(place string) (Place, error) {
	return ParsePlace(place, Place{CA: s.CA, Cert: s.Certificate, Key: s.Key})
}

// check implements section.
func (s *Store) check() error {
	p := Place{}
	if s.At != "" {
		var err error
		if p, err = s.Parse(s.At); err != nil {
			return faultf("at", "%w", err)
		}
	}

	switch {
	case s.WriteBack == "":
	case s.WriteBack != WriteVolumes && s.WriteBack != WriteSecrets:
		return faultf("write-back", "%q must be volumes or secrets", s.WriteBack)
	case p.Kind != Kube:
		return faultf("write-back", "it is for a store kube:NAMESPACE")
	}

	return nil
}
