// Package kmsg sends log/slog to the kernel log, one record a line, so
// that the console, dmesg and the journal of the real root all have it.
package kmsg

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
)

// maxRecord is what /dev/kmsg takes in one write, in bytes:
// PRINTKRB_RECORD_MAX (1024) in kernel/printk/printk.c less its prefix.
const maxRecord = 976

// Levels of the kernel log, include/linux/kern_levels.h.
const (
	levelErr     = 3 // shown on the console even with "quiet"
	levelWarning = 4
	levelInfo    = 6
	levelDebug   = 7
)

// Human is the slog level of lines that people at the console must see,
// even when the kernel is told to be quiet.
const Human = slog.LevelError

// A Handler is a slog.Handler that writes "<level>latchkey: message k=v".
type Handler struct {
	w     io.Writer // /dev/kmsg: each Write is one record
	min   slog.Level
	attrs string
}

// New makes a Handler that drops what is below min.
func New(w io.Writer, min slog.Level) *Handler { return &Handler{w: w, min: min} }

// Enabled implements slog.Handler.
func (h *Handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.min }

// Handle implements slog.Handler. A record that the kernel does not take
// is lost: there is nobody left to tell.
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
	level := levelDebug
	switch {
	case r.Level >= slog.LevelError:
		level = levelErr
	case r.Level >= slog.LevelWarn:
		level = levelWarning
	case r.Level >= slog.LevelInfo:
		level = levelInfo
	}

	var b bytes.Buffer
	fmt.Fprintf(&b, "<%d>latchkey: %s%s", level, Clean(r.Message), h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		b.WriteString(format(a))
		return true
	})

	line := b.Bytes()
	if len(line) > maxRecord {
		line = append(line[:maxRecord-3], "..."...)
	}
	_, err := h.w.Write(append(line, '\n'))
	return err
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	n := *h
	for _, a := range attrs {
		n.attrs += format(a)
	}
	return &n
}

// WithGroup implements slog.Handler; groups do not show in the log.
func (h *Handler) WithGroup(string) slog.Handler { return h }

func format(a slog.Attr) string {
	if a.Key == "" {
		return ""
	}
	v := a.Value.Resolve()
	text := v.String()
	if v.Kind() == slog.KindDuration {
		text = v.Duration().Round(time.Millisecond).String()
	}
	text = Clean(text)
	if text == "" || strings.ContainsAny(text, " \"=") {
		text = `"` + strings.ReplaceAll(text, `"`, `'`) + `"`
	}
	return " " + a.Key + "=" + text
}

// Clean replaces everything but printable ASCII: what comes from the
// network or from a disk must not move a terminal's cursor or begin a
// record of its own.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}
