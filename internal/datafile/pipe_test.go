package datafile_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"latchkey/internal/datafile"
)

// A pipe without a writer ends in a line that says so; with one it is read, as
// is one that a shell made.
func TestReadPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := datafile.Read(pipe, 100); err == nil || !strings.Contains(err.Error(), pipe+": it is a pipe, and nobody writes to it") {
		t.Errorf("a pipe without a writer: %v", err)
	}

	other := filepath.Join(t.TempDir(), "other")
	if err := syscall.Mkfifo(other, 0o600); err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error, 1)
	go func() { wrote <- os.WriteFile(other, []byte("what somebody writes"), 0) }() // opens when somebody reads
	if b, err := datafile.Read(other, 100); err != nil || string(b) != "what somebody writes" {
		t.Errorf("a pipe with a writer: %q, %v", b, err)
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}

	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := w.WriteString("what a program writes"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if b, err := datafile.Read(fmt.Sprintf("/dev/fd/%d", r.Fd()), 100); err != nil || string(b) != "what a program writes" {
		t.Errorf("what a shell makes of <(program): %q, %v", b, err)
	}
}
