package config

// A KairosSection says how machines of Kairos are judged; listeners say where they
// are served.
type KairosSection struct {
	// StrictClock refuses a TPM whose clock is behind what it was, which
	// otherwise is audited and warned of: a software TPM forgets its clock
	// when its host loses power.
	StrictClock bool `yaml:"strict-clock"`
}
