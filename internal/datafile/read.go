package datafile

import (
	"fmt"
	"io"
	"os"
	"time"
)

// pipeWait is how long a named pipe may have nobody who writes to it.
const pipeWait = 3 * time.Second

// OpenRead opens a file or pipe to read. The system waits at a named pipe
// until somebody opens it to write: it is waited for that for seconds, and for
// what a writer says as long as that takes. A pipe that a shell made, as of
// <(program), has a writer.
func OpenRead(path string) (*os.File, error) {
	if info, err := os.Stat(path); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		return os.Open(path)
	}
	type result struct {
		f   *os.File
		err error
	}
	opened := make(chan result, 1)
	go func() {
		f, err := os.Open(path)
		opened <- result{f, err}
	}()
	select {
	case r := <-opened:
		return r.f, r.err
	case <-time.After(pipeWait):
		return nil, fmt.Errorf("opening %s: it is a pipe, and nobody writes to it: start the program that does, or name a file", path)
	}
}

// Read reads a file or pipe of at most so many bytes. Devices are refused:
// /dev/zero has no end.
func Read(path string, most int64) ([]byte, error) {
	f, err := OpenRead(path)
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
