package datafile

import (
	"fmt"
	"io"
	"os"
)

// Read reads a file or pipe of at most so many bytes. Devices are refused:
// /dev/zero has no end.
func Read(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode(); mode&os.ModeDevice != 0 {
		return nil, fmt.Errorf("reading %s: it is a device, want a file", path)
	}

	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("it has more than %d bytes", most)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return b, nil
}
