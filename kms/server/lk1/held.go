package lk1

import "latchkey/kms"

// A rotation ends with the old keyslot removed: after that, a key server that
// is restored from a backup of before has no secret that opens the volume. So
// it can be held: both secrets are given, and the machine leaves both
// keyslots, until a backup has the next one.

// SetWaitForBackup says whether rotations wait for a backup that has their
// secret. One ends at its machine's first boot after that.
func (s *Service) SetWaitForBackup(yes bool) { s.waitBackup.Store(yes) }

// held tells whether a rotation has to wait for a backup.
func (v view) held(row volumeRow) (bool, error) {
	if !v.s.waitBackup.Load() {
		return false, nil
	}
	backed, err := v.BackedUp(row.StagedAt)
	return !backed, err
}

// ends tells whether a result changes anything about a rotation: it ends it,
// or is the first of one that is held.
func (v view) ends(row volumeRow, r kms.Result, rotation uint64) bool {
	if !row.opened(r, rotation) {
		return false
	}
	held, err := v.held(row)
	return err != nil || !held || !row.Proven
}
