package config

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/dustin/go-humanize"

	"latchkey/kms/history"
	"latchkey/kms/history/witness"
	"latchkey/kms/server/policy"
)

// An Audit says what becomes of the audit log: when a checkpoint is made, who
// cosigns it, and how much stays in the store.
type Audit struct {
	CheckpointEvery policy.Duration `yaml:"checkpoint-every"` // 24h if it is not said
	Keep            policy.Duration `yaml:"keep"`             // all, if neither is said
	MaxSize         Size            `yaml:"max-size"`
	Witnesses       []AuditWitness  `yaml:"witnesses"`
	Archive         string          `yaml:"archive"` // folder of sealed segments; none: nobody keeps them

	Asked []witness.Witness `yaml:"-"` // made of Witnesses by check
}

// An AuditWitness cosigns checkpoints: C2SP tlog-witness.
type AuditWitness struct {
	URL string `yaml:"url"`
	Key string `yaml:"key"` // as its operator publishes it
}

// A Size is a number of bytes, written as 2GB or 512MiB.
type Size uint64

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(b []byte) error {
	n, err := humanize.ParseBytes(string(b))
	if err != nil || n == 0 {
		return errors.New(strconv.Quote(string(b)) + " is no size, as 2GB or 512MiB")
	}
	*s = Size(n)
	return nil
}

// Bounds: a checkpoint is a row that stays, and a witness answers at once or
// not at all.
const (
	minCheckpointEvery = time.Minute
	witnessWait        = 10 * time.Second
)

func (a *Audit) check() error {
	if every := time.Duration(a.CheckpointEvery); every != 0 && every < minCheckpointEvery {
		return faultf("checkpoint-every", "%s is too often: each checkpoint stays; a minute is the least", every)
	}
	if a.Keep < 0 {
		return faultf("keep", "%s is no time to keep events", a.Keep)
	}
	a.Asked = nil
	client := &http.Client{Timeout: witnessWait}
	for i, w := range a.Witnesses {
		at := "witnesses[" + strconv.Itoa(i) + "]"
		u, err := url.Parse(w.URL)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" {
			return faultf(at+".url", "%.80q must be the URL of a witness, as https://witness.example.org/", w.URL)
		}
		key, err := history.ParseWitnessKey(w.Key)
		if err != nil {
			return faultf(at+".key", "%w", err)
		}
		a.Asked = append(a.Asked, witness.Witness{URL: w.URL, Key: key, Client: client})
	}
	return nil
}
