package mapping_test

import (
	"strings"
	"testing"

	"latchkey/internal/mapping"
)

const arrayUUID = "0c4f3a52:9b0e4f8d:8e572a1f:6f1b9d10"

// TestArrayUUID: in which forms people write UUIDs of arrays.
func TestArrayUUID(t *testing.T) {
	for text, want := range map[string]bool{arrayUUID: true, strings.ToUpper(arrayUUID): true, "0c4f3a52-9b0e-4f8d-8e57-2a1f6f1b9d10": true, strings.ReplaceAll(arrayUUID, ":", ""): true, "": false, arrayUUID + "0": false, strings.Replace(arrayUUID, "0", "g", 1): false} {
		if got := mapping.IsArrayUUID(text); got != want {
			t.Errorf("IsUUID(%q) = %t, want %t", text, got, want)
		}
		if got := mapping.SameArrayUUID(arrayUUID, text); got != want {
			t.Errorf("SameUUID(%q) = %t, want %t", text, got, want)
		}
	}
}
