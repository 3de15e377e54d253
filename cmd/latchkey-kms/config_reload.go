package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"reflect"

	"latchkey/kms/server"
)

// reloads applies the configuration again whenever hup says so, until ctx
// ends. A wrong one changes nothing.
func (o *options) reloads(ctx context.Context, started *config, flags overrides, hup <-chan os.Signal, s *server.Server, pairs certificates, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
		}

		notify("RELOADING=1\n" + monotonicUsec())
		if c, err := o.configure(flags); err != nil {
			log.Error("reloading the configuration: nothing was changed", "err", err)
		} else {
			for _, key := range needRestart(reflect.ValueOf(started).Elem(), reflect.ValueOf(c).Elem(), "") {
				log.Warn("reloading the configuration: this key takes effect after a restart", "key", key)
			}
			c.apply(s)
			log.Info("configuration reloaded", "file", c.file)
		}

		for _, pair := range pairs {
			pair.Look()
		}
		notify("READY=1")
	}
}

// needRestart lists the keys that differ and are only read at start.
func needRestart(a, b reflect.Value, path string) (keys []string) {
	for i := range a.NumField() {
		f := a.Type().Field(i)
		key := keyOf(f)
		if f.Anonymous {
			keys = append(keys, needRestart(a.Field(i), b.Field(i), path)...)
			continue
		}

		if key == "" {
			continue
		}
		if path != "" {
			key = path + "." + key
		}

		switch {
		case f.Tag.Get("restart") == "yes":
			if !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
				keys = append(keys, key)
			}
		case f.Type.Kind() == reflect.Struct:
			keys = append(keys, needRestart(a.Field(i), b.Field(i), key)...)
		}
	}
	return keys
}

// monotonicUsec is what systemd wants beside RELOADING=1: sd_notify(3).
func monotonicUsec() string { return fmt.Sprintf("MONOTONIC_USEC=%d", monotonic().Microseconds()) }
