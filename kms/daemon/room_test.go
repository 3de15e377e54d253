package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// faults/peers.md I11: a disk that is full at the start is waited for, and
// that is said once; other failures end the start at once.
func TestWhenRoom(t *testing.T) {
	full := fmt.Errorf("writing: %w", &fs.PathError{Op: "write", Path: "epoch", Err: syscall.ENOSPC})
	quota := fmt.Errorf("writing: %w", syscall.EDQUOT)
	damaged := errors.New("damaged")
	for _, row := range []struct {
		name   string
		fails  []error
		want   error
		tries  int
		logged int // lines
	}{
		{"there is room", nil, nil, 1, 0},
		{"full, then room", []error{full, full, quota}, nil, 4, 2},
		{"full, then damaged", []error{full, damaged}, damaged, 2, 1},
		{"damaged", []error{damaged}, damaged, 1, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				tries := 0
				err := whenRoom(t.Context(), slog.New(slog.NewTextHandler(&log, nil)), func() error {
					if tries++; tries <= len(row.fails) {
						return row.fails[tries-1]
					}
					return nil
				})
				if !errors.Is(err, row.want) || tries != row.tries {
					t.Errorf("whenRoom = %v after %d tries, want %v after %d", err, tries, row.want, row.tries)
				}
				if got := strings.Count(log.String(), "\n"); got != row.logged {
					t.Errorf("whenRoom logged %q, want %d lines", log.String(), row.logged)
				}
			})
		})
	}
}

// SIGTERM ends the wait.
func TestWhenRoomIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		err := whenRoom(ctx, slog.New(slog.DiscardHandler), func() error { return syscall.ENOSPC })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("whenRoom = %v, want that of ctx", err)
		}
	})
}
