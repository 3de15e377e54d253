package agent

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"latchkey/internal/kmsg"
)

// While the kernel's log is kept from the console, people are told there by
// hand; otherwise, and what is not for them, by the log alone.
func TestLoud(t *testing.T) {
	for _, row := range []struct {
		printk string
		level  slog.Level
		want   string
	}{
		{"1\t4\t1\t7\n", kmsg.Human, "\r\nlatchkey: no ke?y\r\n"},
		{"3\t4\t1\t7\n", kmsg.Human, "\r\nlatchkey: no ke?y\r\n"},
		{"4\t4\t1\t7\n", kmsg.Human, ""},
		{"7\t4\t1\t7\n", kmsg.Human, ""},
		{"1\t4\t1\t7\n", slog.LevelWarn, ""},
		{"", kmsg.Human, ""},
	} {
		dir := t.TempDir()
		l := loud{slog.DiscardHandler, filepath.Join(dir, "printk"), filepath.Join(dir, "console")}
		for path, text := range map[string]string{l.printk: row.printk, l.console: ""} {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		slog.New(everything{l}).Log(context.Background(), row.level, "no ke\x1by")
		if got, err := os.ReadFile(l.console); err != nil || string(got) != row.want {
			t.Errorf("printk %q, level %v: the console has %q, %v, want %q", row.printk, row.level, got, err, row.want)
		}
	}
}

// everything is enabled.
type everything struct{ loud }

func (everything) Enabled(context.Context, slog.Level) bool { return true }
