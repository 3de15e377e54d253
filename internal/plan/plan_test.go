package plan_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"latchkey/internal/plan"
)

const rootUUID = "11111111-2222-3333-4444-555555555555"

func good() *plan.Plan {
	return &plan.Plan{
		Version: plan.Version,
		Trust:   plan.Trust{KMS: []plan.PublicKey{"lk1:IACMx2/hiNfc+4150nkCg2G5sY+MZdXNO3jt6GLQ+T0="}},
		Find:    plan.Find{URLs: []string{"http://kms.local"}},
		Volumes: []plan.Volume{{UUID: rootUUID, Name: "root", Sources: []string{"kms"}}},
		OnFail:  plan.OnFail{Action: "reboot", After: time.Minute},
		Wait:    180 * time.Second,
	}
}

func encode(t *testing.T, p *plan.Plan) []byte {
	t.Helper()
	file, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestDecodeTakesOnlyWhatEncodeWrites(t *testing.T) {
	file := string(encode(t, good()))
	if _, err := plan.Decode([]byte(file)); err != nil {
		t.Fatalf("Decode of what Encode wrote: %v", err)
	}
	for _, tt := range []struct{ name, file string }{
		{"unknown field", strings.Replace(file, `{"version"`, `{"evil":1,"version"`, 1)},
		{"field twice", strings.Replace(file, `{"version":2`, `{"version":2,"version":2`, 1)},
		{"other case", strings.Replace(file, `"version"`, `"Version"`, 1)},
		{"trailing data", file + "{}"},
		{"white space", strings.Replace(file, ",", ", ", 1)},
		{"other version", strings.Replace(file, `"version":2`, `"version":3`, 1)},
		{"no version", strings.Replace(file, `"version":2`, `"version":0`, 1)},
		{"cut", file[:len(file)/2]},
		{"empty", ""},
		{"too large", file + strings.Repeat(" ", 1<<20)},
	} {
		if _, err := plan.Decode([]byte(tt.file)); !errors.Is(err, plan.ErrInvalid) {
			t.Errorf("%s: Decode = %v, want ErrInvalid", tt.name, err)
		}
	}
}

// TestOldPlan: an image that was built before there were key files is still
// read, by "plan show" for example.
func TestOldPlan(t *testing.T) {
	p := good()
	p.Version = 1
	if got, err := plan.Decode(encode(t, p)); err != nil || got.Version != 1 {
		t.Errorf("Decode of version 1 = %v, %v", got, err)
	}
}
