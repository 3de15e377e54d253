package server_test

import (
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"latchkey/kms/backup"
)

// askBackups asks for backups: where there is no place for them, one that is
// away, and one that is there.
func askBackups(d *document31, f *fixture, h http.Handler) {
	d.t.Helper()
	ask := func(method string, want int) {
		d.t.Helper()
		if status, answer := d.ask(h, method, "/v1/backups", ""); status != want {
			d.t.Errorf("%s /v1/backups: status %d, want %d: %.200s", method, status, want, answer)
		}
	}
	ask("GET", 409)
	ask("POST", 409)

	dir := filepath.Join(d.t.TempDir(), "backups")
	f.SetBackups(&backup.Schedule{
		Maker: backup.Maker{Places: []backup.Place{backup.Dir(dir)}, Scratch: d.t.TempDir(), Of: backup.OfServer(f.Name()), Write: f.Backup, Judge: f.JudgeCopy},
		Every: time.Hour, Log: slog.New(slog.DiscardHandler),
	})
	ask("POST", 503)
	ask("GET", 200)
	if err := os.Mkdir(dir, 0o700); err != nil {
		d.t.Fatal(err)
	}
	ask("POST", 200)
	ask("GET", 200)
}
