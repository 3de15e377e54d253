// Package report is what a boot leaves behind for the running system.
package report

// File is where PID 1 writes the Report.
const File = "/run/latchkey/boot.json"

// A Report is /run/latchkey/boot.json: how the boot went, for
// `latchkey status` and whoever else wants to know.
type Report struct {
	Version int      `json:"version"`
	InitMS  int64    `json:"init_started_ms"` // since the kernel started
	TotalMS int64    `json:"total_ms"`        // from init's start to the pivot
	Steps   []Step   `json:"steps"`
	Volumes []Volume `json:"volumes"`
	Root    string   `json:"root"`
	TPM     bool     `json:"tpm"`
	Plan    string   `json:"plan"` // in words
}

// A Step is one step: times in milliseconds since init started.
type Step struct {
	Name    string  `json:"name"`
	StartMS float64 `json:"start_ms"`
	TookMS  float64 `json:"took_ms"`
	Detail  string  `json:"detail,omitempty"`
	Code    string  `json:"code,omitempty"`
}

// A Volume is one volume. One that stays closed (nofail) has a code that
// says why, and -1 for the keyslot.
type Volume struct {
	Name    string `json:"name"`
	UUID    string `json:"uuid"`
	Keyslot int    `json:"keyslot"`
	Code    string `json:"code,omitempty"`
}
