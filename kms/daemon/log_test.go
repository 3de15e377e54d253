package daemon

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/kms/config"
)

// faults/kms.md L: logs have levels, and may be JSON.
func TestLogLevels(t *testing.T) {
	for _, row := range []struct {
		level string
		want  string // first letters of the levels that are logged
	}{{"", "IWE"}, {"debug", "DIWE"}, {"info", "IWE"}, {"warn", "WE"}, {"error", "E"}} {
		var out bytes.Buffer
		log := newLog(&out, &config.Log{Level: row.level, Format: config.LogJSON}, &slog.LevelVar{})
		log.Debug("a")
		log.Info("b")
		log.Warn("c")
		log.With("x", 1).Error("d")

		got := ""
		for line := range strings.Lines(out.String()) {
			var one struct{ Level, Msg string }
			if err := json.Unmarshal([]byte(line), &one); err != nil || one.Msg == "" {
				t.Fatalf("level %q logged %q: %v", row.level, line, err)
			}
			got += one.Level[:1]
		}
		if got != row.want {
			t.Errorf("level %q logged %s, want %s", row.level, got, row.want)
		}
	}
}

// A reload changes the level of the log that is in use.
func TestLevelChanges(t *testing.T) {
	var out bytes.Buffer
	var level slog.LevelVar
	log := newLog(&out, &config.Log{}, &level)
	log.Debug("not yet")
	level.Set(slog.LevelDebug)
	log.Debug("now")
	if got := out.String(); strings.Contains(got, "not yet") || !strings.Contains(got, "level=DEBUG msg=now") {
		t.Errorf("logged %q, want only what came after the change", got)
	}
}

// faults/kms.md L: strangers write a line each. Of a flood a few lines a
// minute are logged, with how many were not; other messages are not touched.
func TestFloodOfLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := newLog(&out, &config.Log{}, &slog.LevelVar{}).With("listener", 1).WithGroup("g")
		for i := range 10_000 {
			log.Warn("refused", "from", fmt.Sprint(i))
		}
		log.Info("configuration reloaded")
		if got := strings.Count(out.String(), "msg=refused"); got != linesPerWindow {
			t.Errorf("10,000 refusals at once logged %d lines, want %d", got, linesPerWindow)
		}
		if !strings.Contains(out.String(), "configuration reloaded") {
			t.Error("the flood hid another message")
		}

		time.Sleep(logWindow)
		out.Reset()
		log.Warn("refused", "from", "later")
		if want := fmt.Sprintf("left_out_before=%d", 10_000-linesPerWindow); !strings.Contains(out.String(), want) {
			t.Errorf("the next line is %q, want it to say %s", out.String(), want)
		}
		out.Reset()
		log.Warn("refused", "from", "later")
		if strings.Contains(out.String(), "left_out") {
			t.Errorf("the line after is %q; nothing was left out", out.String())
		}
	})
}

// One source does not use up what others are logged by; addresses of one
// IPv6 network are one.
func TestFloodOfOneSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := newLog(&out, &config.Log{}, &slog.LevelVar{})
		for i := range 1000 {
			log.Warn("refused", "node", i, "from", "192.0.2.1")
			log.Warn("refused", "from", fmt.Sprintf("2001:db8::%x", i+1))
		}
		log.Warn("refused", "from", "192.0.2.2")
		log.Warn("refused", "node", 1)
		for source, want := range map[string]int{"from=192.0.2.1\n": linesPerSource, "from=2001:db8::": linesPerSource, "from=192.0.2.2\n": 1, "node=1\n": 1} {
			if got := strings.Count(out.String(), source); got != want {
				t.Errorf("%d lines with %q, want %d", got, source, want)
			}
		}
		time.Sleep(logWindow)
		out.Reset()
		log.Warn("refused", "from", "192.0.2.1")
		if want := fmt.Sprintf("left_out_before=%d", 2*(1000-linesPerSource)); !strings.Contains(out.String(), want) {
			t.Errorf("the next line is %q, want it to say %s", out.String(), want)
		}
	})
}
