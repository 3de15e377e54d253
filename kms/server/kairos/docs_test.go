package kairos_test

import (
	"testing"

	"latchkey/internal/docexample"
	"latchkey/kms/server/kairos"
)

// TestDocs: each document in README and docs is taken as it stands.
func TestDocs(t *testing.T) {
	for _, b := range docexample.Blocks(t, "yaml kairos") {
		d, err := kairos.ParseDocuments([]byte(b.Text))
		if err != nil {
			t.Errorf("%s: %v", b, err)
			continue
		}
		d.Wipe()
	}
}
