package server_test

import (
	"encoding/json"
	"net/url"
	"slices"
	"testing"

	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/kms/server/lk1"
)

// The pages of volumes are all volumes, each once, however long they are.
func TestVolumePages(t *testing.T) {
	f := newKMS(t)
	for i := range 7 {
		if err := f.PutVolume(ctx, kms.UUID{byte(i), 9}, secret.Own([]byte(canary))); err != nil {
			t.Fatal(err)
		}
	}
	all, err := f.Volumes()
	if err != nil || len(all) != 7 {
		t.Fatal(len(all), err)
	}
	for _, limit := range []string{"1", "3", "7", "8"} {
		var seen []kms.UUID
		for after, pages := "", 0; ; pages++ {
			_, body := get(f.AdminHandler(), "/v1/volumes/page?limit="+limit+"&after="+url.QueryEscape(after))
			var p lk1.VolumePage
			if err := json.Unmarshal(body, &p); err != nil || pages > 8 {
				t.Fatalf("limit %s: %s, %v", limit, body, err)
			}
			for _, v := range p.Volumes {
				seen = append(seen, v.UUID)
			}
			if after = p.Next; after == "" {
				break
			}
		}
		if want := uuidsOf(all); !slices.Equal(seen, want) {
			t.Errorf("pages of %s have %v, want %v", limit, seen, want)
		}
	}
	for _, query := range []string{"limit=0", "limit=1001", "limit=x", "after=zz", "after=00"} {
		for _, path := range []string{"/v1/volumes/page?", "/v1/nodes/page?", "/v1/kairos/nodes/page?", "/v1/talos/nodes/page?"} {
			if status, body := get(f.AdminHandler(), path+query); status != 400 {
				t.Errorf("%s%s: status %d, %s, want 400", path, query, status, body)
			}
		}
	}
}

func uuidsOf(all []lk1.Volume) (uuids []kms.UUID) {
	for _, v := range all {
		uuids = append(uuids, v.UUID)
	}
	return uuids
}
