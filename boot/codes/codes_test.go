package codes_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"latchkey/boot/codes"
)

const page = `# Codes: why a boot waits or stops

Every failure has a stable code; the console shows it, and ` + "`/run/latchkey/boot.json`" + ` and the KMS' audit log keep it. What is
tried again is tried with a pause that grows to 30 s. This page is made from the table in ` + "`boot/codes`" + ` by its test.

` + "```text" + `
latchkey: pending: this machine is "liquid dryer vessel common indigo earth"; … (approve this machine: latchkey-kms node approve WORDS)
` + "```" + `

| code | what follows | what to do |
|---|---|---|
`

// TestPage keeps docs/codes.md and the table the same.
func TestPage(t *testing.T) {
	var b strings.Builder
	b.WriteString(page)
	for code, m := range codes.All() {
		follows := map[codes.Class]string{codes.Retry: "tries again", codes.Operator: "keeps asking", codes.Final: "gives up: `on-fail`"}[m.Class]
		if follows == "" || m.Advice == "" {
			t.Errorf("code %q has no class or no advice", code)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", code, follows, m.Advice)
	}

	const file = "../../docs/codes.md"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	got, err := os.ReadFile(file)
	if err != nil || string(got) != b.String() {
		t.Errorf("%s is not what the table says, %v: UPDATE=1 go test ./boot/codes writes it", file, err)
	}
}

func TestOf(t *testing.T) {
	coded := codes.Fail("volume-missing", "no disk: %w", os.ErrNotExist)
	for _, row := range []struct {
		name string
		err  error
		want string
		own  bool
	}{
		{"nil", nil, "", false},
		{"its own", coded, "volume-missing", true},
		{"wrapped", fmt.Errorf("looking: %w", coded), "volume-missing", true},
		{"the first of several", errors.Join(errors.New("x"), coded, codes.Fail("mapping", "y")), "volume-missing", true},
		{"its own, though late", fmt.Errorf("%w: %w", coded, context.DeadlineExceeded), "volume-missing", true},
		{"late", fmt.Errorf("asking: %w", context.DeadlineExceeded), codes.Timeout, false},
		{"none", os.ErrNotExist, codes.Failed, false},
	} {
		if got := codes.Of(row.err); got != row.want {
			t.Errorf("%s: Of(%v) = %q, want %q", row.name, row.err, got, row.want)
		}
		if got, ok := codes.Find(row.err); ok != row.own || ok && got != row.want {
			t.Errorf("%s: Find(%v) = %q, %t, want %q, %t", row.name, row.err, got, ok, row.want, row.own)
		}
	}

	if !errors.Is(coded, os.ErrNotExist) {
		t.Error("Fail hides its cause")
	}
}

// A code that nobody thought of must not strand a machine.
func TestMeansUnknown(t *testing.T) {
	if m := codes.Means("no-such-code"); m.Class != codes.Retry {
		t.Errorf("Means = %+v, want Retry", m)
	}
}
