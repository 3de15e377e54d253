package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"latchkey/kms/history/witnesstest"
	"latchkey/kms/server/policy"
)

// audited is the section of a file.
func audited(t *testing.T, section string) (*Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kms.yaml")
	if err := os.WriteFile(path, []byte("audit: "+section+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Read(path)
	if err == nil {
		err = c.check()
	}
	return c, err
}

func TestAudit(t *testing.T) {
	for section, want := range map[string]Audit{
		"{}":                      {},
		"{keep: 400d}":            {Keep: policy.Duration(400 * 24 * time.Hour)},
		"{max-size: 2GB}":         {MaxSize: 2e9},
		"{max-size: 512MiB}":      {MaxSize: 512 << 20},
		"{checkpoint-every: 12h}": {CheckpointEvery: policy.Duration(12 * time.Hour)},
	} {
		if c, err := audited(t, section); err != nil || !reflect.DeepEqual(c.Audit, want) {
			t.Errorf("audit: %s is %+v, %v, want %+v", section, c.Audit, err, want)
		}
	}
	for section, says := range map[string]string{
		"{keep: forever}":                     `reading "forever": not a duration`,
		"{keep: 0d}":                          "keep: it is no time; leave it out",
		"{checkpoint-every: 0}":               "checkpoint-every: it is no time; leave it out",
		"{keep: -1h}":                         "no time to keep events",
		"{max-size: many}":                    `"many" is no size, as 2GB or 512MiB`,
		"{max-size: 0}":                       `"0" is no size`,
		"{checkpoint-every: 1s}":              "a minute is the least",
		"{kept: 1d}":                          `unknown key "kept"`,
		"{witnesses: {url: ftp://w, key: k}}": "must be the URL of a witness",
		"{witnesses: {url: 'https://w.example/', key: w+00000000+BA}}": "is no key of a witness",
	} {
		if _, err := audited(t, section); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "kms.yaml:1") {
			t.Errorf("audit: %s: %v, want one line with %q", section, err, says)
		}
	}

	w := witnesstest.Start(t)
	c, err := audited(t, "{witnesses: {url: '"+w.URL+"', key: "+w.VKey+"}}")
	if got := c.Audit.Asked; err != nil || len(got) != 1 || got[0].Name() != "witness.example/w1" {
		t.Errorf("a witness is %+v, %v", got, err)
	}
}
