package module_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"latchkey/boot/module"
	"latchkey/internal/plan"
)

// padlock_aes, another AES, finds nothing to drive on most machines: that is
// no news at every boot. Whatever else fails is.
func TestNothingToDrive(t *testing.T) {
	index := &plan.Modules{List: []plan.Module{{Path: "/padlock-aes.ko"}}}
	for err, said := range map[error]bool{unix.ENODEV: false, unix.EPERM: true, unix.ENOEXEC: true} {
		var log bytes.Buffer
		insert := func(path, _ string) error { return fmt.Errorf("inserting %s: %w", path, err) }
		module.New(index, nil, insert, slog.New(slog.NewTextHandler(&log, nil))).Named("padlock_aes")
		if strings.Contains(log.String(), "padlock_aes") != said {
			t.Errorf("after %v the log is %q, want a line: %t", err, log.String(), said)
		}
	}
}
