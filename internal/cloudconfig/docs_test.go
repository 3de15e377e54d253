package cloudconfig_test

import (
	"testing"

	"latchkey/internal/cloudconfig"
	"latchkey/internal/docexample"
)

// TestDocs: each cloud-config in the pages says something here.
func TestDocs(t *testing.T) {
	for _, b := range docexample.Blocks(t, "yaml cloud-config") {
		var c cloudconfig.Config
		if err := c.Add("page", []byte(b.Text), func(err error) { t.Errorf("%s: %v", b, err) }); err != nil || c.Server == "" && c.NVIndex == 0 {
			t.Errorf("%s: Add = %+v, %v, want a challenger_server or nv_index", b, c, err)
		}
	}
}
