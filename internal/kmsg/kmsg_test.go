package kmsg_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"latchkey/internal/kmsg"
	"latchkey/internal/secret"
)

func TestHandle(t *testing.T) {
	for _, tt := range []struct {
		name string
		log  func(*slog.Logger)
		want string
	}{
		{"plain", func(l *slog.Logger) { l.Info("unlock root", "keyslot", 0) }, "<6>latchkey: unlock root keyslot=0\n"},
		{"duration is rounded", func(l *slog.Logger) { l.Info("x", "took", 1234567*time.Nanosecond) }, "<6>latchkey: x took=1ms\n"},
		{"human lines pass quiet", func(l *slog.Logger) { l.Log(context.Background(), kmsg.Human, "waiting") }, "<3>latchkey: waiting\n"},
		{"no second record", func(l *slog.Logger) { l.Warn("a\n<0>b", "name", "\x1b[2J\n") }, "<4>latchkey: a?<0>b name=?[2J?\n"},
		{"quotes", func(l *slog.Logger) { l.Info("x", "err", `no "key" here`) }, "<6>latchkey: x err=\"no 'key' here\"\n"},
		{"secrets", func(l *slog.Logger) { l.Info("x", "k", secret.Own([]byte("canary"))) }, "<6>latchkey: x k=\"secret(6 bytes)\"\n"},
		{"with", func(l *slog.Logger) { l.With("link", "eth0").Info("up") }, "<6>latchkey: up link=eth0\n"},
		{"below the minimum", func(l *slog.Logger) { l.Debug("x") }, ""},
	} {
		var b strings.Builder
		tt.log(slog.New(kmsg.New(&b, slog.LevelInfo)))
		if b.String() != tt.want {
			t.Errorf("%s: wrote %q, want %q", tt.name, b.String(), tt.want)
		}
	}
}

func TestLongRecordIsCut(t *testing.T) {
	var b strings.Builder
	slog.New(kmsg.New(&b, slog.LevelInfo)).Info(strings.Repeat("x", 5000))
	if n := b.Len(); n > 977 || !strings.HasSuffix(b.String(), "...\n") {
		t.Errorf("record has %d bytes and ends with %q, want at most 977 and ...", n, b.String()[n-5:])
	}
}
