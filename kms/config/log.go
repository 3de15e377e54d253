package config

import (
	"log/slog"
)

// A Log says what a server logs to standard error, and how.
type Log struct {
	Level  string `yaml:"level" words:"debug info warn error"`    // debug, info (default), warn, error
	Format string `yaml:"format" restart:"yes" words:"text json"` // text (default) or json
}

// Formats of the log.
const (
	LogText = "text"
	LogJSON = "json"
)

// levels are those of log/slog, by name.
var levels = map[string]slog.Level{
	"": slog.LevelInfo, "debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

// SlogLevel is the least level that is logged.
func (l *Log) SlogLevel() slog.Level { return levels[l.Level] }

// check implements section.
func (l *Log) check() error {
	if _, ok := levels[l.Level]; !ok {
		return faultf("level", "%q must be debug, info, warn or error", l.Level)
	}
	if l.Format != "" && l.Format != LogText && l.Format != LogJSON {
		return faultf("format", "%q must be text or json", l.Format)
	}
	return nil
}
