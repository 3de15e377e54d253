package config

// A Wrapping says where the key is that wraps the database's key. If it
// says nothing, that is the systemd credential, else a file beside the
// database.
type Wrapping struct {
	Key        string `yaml:"key" restart:"yes"`        // file of 32 bytes
	Passphrase string `yaml:"passphrase" restart:"yes"` // file to derive it from
	TPM        string `yaml:"tpm" restart:"yes"`        // device that unseals it
}

// Exclusive tells whether at most one way is named.
func (s *Wrapping) Exclusive() bool {
	n := 0
	for _, set := range []string{s.Key, s.Passphrase, s.TPM} {
		if set != "" {
			n++
		}
	}
	return n <= 1
}

// check implements section.
func (s *Wrapping) check() error {
	if !s.Exclusive() {
		return faultf("", "key, passphrase and tpm are mutually exclusive")
	}
	return nil
}
