package mapping_test

import (
	"fmt"
	"strings"
	"testing"

	"latchkey/internal/mapping"
)

func ExampleDMUUID() {
	fmt.Println(mapping.DMUUID("LUKS2", "11111111-2222-3333-4444-555555555555", "root"))
	// Output: CRYPT-LUKS2-11111111222233334444555555555555-root
}

func TestCheckName(t *testing.T) {
	for name, good := range map[string]bool{
		"root": true, "luks-11111111-2222-3333-4444-555555555555": true, "a.b_c+d-e": true, strings.Repeat("a", 63): true,
		"": false, strings.Repeat("a", 64): false, ".hidden": false, "-x": false, "control": false, "a/b": false, "a b": false, "ä": false, "a\n": false,
	} {
		if err := mapping.CheckName(name); (err == nil) != good {
			t.Errorf("CheckName(%q) = %v, want accepted: %v", name, err, good)
		}
	}
}

func TestIsUUID(t *testing.T) {
	const good = "11111111-2222-3333-4444-5555555abcdf"
	for s, want := range map[string]bool{
		good: true, strings.ToUpper(good): false, good[1:]: false, good + "1": false, strings.ReplaceAll(good, "-", "1"): false,
		strings.Replace(good, "1", "-", 1): false, strings.Replace(good, "a", "g", 1): false, "": false,
	} {
		if got := mapping.IsUUID(s); got != want {
			t.Errorf("IsUUID(%q) = %v, want %v", s, got, want)
		}
	}
}
