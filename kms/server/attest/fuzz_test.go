package attest

import "testing"

func FuzzAttest(f *testing.F) {
	f.Add([]byte("\xff\x54\x43\x47\x80\x18\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		const selected = 10
		a, err := parseAttest(b, selected)
		if err == nil && len(a.selection) != selected {
			t.Errorf("accepted a selection of %d bytes", len(a.selection))
		}
	})
}
