package boot_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"latchkey/boot"
)

const codesDoc = `# Codes: why a boot waits or stops

Every failure has a stable code; the console shows it, and ` + "`/run/latchkey/boot.json`" + ` and the KMS' audit log keep it. Codes that
are not listed here are retried, with a pause that grows to 30 s. This page is made from the table in ` + "`boot/code.go`" + ` by its test.

    latchkey: pending: this machine is "liquid dryer vessel common indigo earth"; … (approve this machine: latchkey-kms node approve WORDS)

| code | what follows | what to do |
|---|---|---|
`

// TestCodesDoc keeps docs/codes.md and the table the same.
func TestCodesDoc(t *testing.T) {
	table := boot.Codes()
	var b strings.Builder
	b.WriteString(codesDoc)
	for _, code := range slices.Sorted(maps.Keys(table)) {
		m := table[code]
		follows := map[boot.Class]string{boot.Operator: "keeps asking", boot.Final: "gives up: `on-fail`"}[m.Class]
		if follows == "" || m.Advice == "" {
			t.Errorf("code %q has no class or no advice", code)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", code, follows, m.Advice)
	}

	const file = "../docs/codes.md"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	got, err := os.ReadFile(file)
	if err != nil || string(got) != b.String() {
		t.Errorf("%s is not what the table says, %v: UPDATE=1 go test ./boot writes it", file, err)
	}
}
