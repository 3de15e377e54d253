package disk_test

import (
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"latchkey/internal/disk"
)

// Who opens it for writing waits for another program, but not for ever.
func TestOpenWaits(t *testing.T) {
	path := image(t)
	synctest.Test(t, func(t *testing.T) {
		f := open(t, path)
		began := time.Now()
		if _, err := disk.Open(path, os.O_RDWR); !errors.Is(err, unix.EWOULDBLOCK) {
			t.Errorf("opening it for writing again = %v, want %v", err, unix.EWOULDBLOCK)
		}
		if waited := time.Since(began); waited < disk.OpenTime || waited > 2*disk.OpenTime {
			t.Errorf("Open has waited %v, want %v", waited, disk.OpenTime)
		}

		time.AfterFunc(disk.OpenTime/2, func() { f.Close() })
		if again, err := disk.Open(path, os.O_RDWR); err != nil {
			t.Errorf("Open, when the other one ends = %v", err)
		} else {
			again.Close()
		}
	})
}
