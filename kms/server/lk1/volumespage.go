package lk1

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"

	"latchkey/kms"
)

// A VolumePage is a part of all volumes.
type VolumePage struct {
	Volumes []Volume `json:"volumes"`
	Next    string   `json:"next,omitempty"` // cursor of the next page; empty: this is the last one
}

// VolumesPage lists up to so many volumes behind a cursor.
func (s *Service) VolumesPage(ctx context.Context, cursor string, limit int) (p VolumePage, err error) {
	after, err := hex.DecodeString(cursor)
	if err != nil || len(after) != 0 && len(after) != volumeKeySize {
		return p, fmt.Errorf("listing volumes: after %.40q is no next of a page", cursor)
	}
	p.Volumes = []Volume{}
	err = s.see(ctx, func(v view) (failed error) {
		var last []byte
		sees := v.nodes()
		v.Scan(tableVolumes, after, func(key []byte) bool {
			if len(key) != volumeKeySize || bytes.Equal(key, after) {
				return true
			}
			if yes, err := sees(kms.NodeID(key)); err != nil || !yes {
				failed = err
				return err == nil
			}
			if len(p.Volumes) == limit {
				p.Next = hex.EncodeToString(last)
				return false
			}
			var row volumeRow
			if _, failed = v.Load(tableVolumes, key, &row); failed != nil {
				return false
			}
			var one Volume
			one, failed = v.presentVolume(row)
			p.Volumes, last = append(p.Volumes, one), bytes.Clone(key)
			return failed == nil
		})
		return failed
	})
	return p, err
}
