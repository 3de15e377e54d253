package server

import (
	"errors"
	"io/fs"
	"os"

	"latchkey/kms/backup"
	"latchkey/kms/store/bolt"
)

// JudgeCopy verifies a file that the store's Backup wrote, every record and
// the whole audit log.
func (s *Server) JudgeCopy(path string) (facts backup.Facts, err error) {
	copied, err := bolt.OpenAnyMode(path, false, Tables(), LogTables()...)
	if err != nil {
		return facts, err
	}
	defer func() {
		err = errors.Join(err, copied.Close())
		if gone := os.Remove(bolt.Closed(path)); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}()
	c, err := s.CheckCopy(copied)
	return backup.Facts{Epoch: c.Epoch, Records: c.Records, Events: c.Events}, err
}
