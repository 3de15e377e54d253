package mapping_test

import (
	"testing"

	"latchkey/internal/mapping"
)

// The UUIDs are those of Python's uuid.uuid5(uuid.NAMESPACE_URL, label).
func TestKairosUUID(t *testing.T) {
	for label, want := range map[string]string{"COS_PERSISTENT": "85c39d0f-4867-5227-8334-f5eec606d9eb", "COS_OEM": "8bfa06f9-ca4f-56dc-90c9-49cf20f4f45e"} {
		if got := mapping.KairosUUID(label); got != want {
			t.Errorf("KairosUUID(%q) = %s, want %s", label, got, want)
		}
	}
}
