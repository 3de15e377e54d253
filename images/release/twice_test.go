package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// archive has one file.
func archive(t *testing.T) source {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	text := []byte("committed\n")
	if err := w.WriteHeader(&tar.Header{Name: "source.txt", Mode: 0o664, Size: int64(len(text)), ModTime: time.Unix(1_700_000_000, 0)}); err != nil {
		t.Fatal(err)
	}
	_, err := w.Write(text)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return source{b.Bytes(), "1700000000"}
}

// TestTwice: what a build takes from where and when it runs is found, by name.
func TestTwice(t *testing.T) {
	from := archive(t)
	for _, row := range []struct{ name, build, want string }{
		{"reproducible", `install -m 644 source.txt "$OUT/x"; mkdir "$OUT/d"; install -m 755 source.txt "$OUT/d/y"`, ""},
		{"by SOURCE_DATE_EPOCH", `echo "$SOURCE_DATE_EPOCH" >"$OUT/x"; chmod 644 "$OUT/x"`, ""},
		{"the folder", `pwd >"$OUT/x"; chmod 644 "$OUT/x"`, "x differs from byte "},
		{"its files' time", `stat -c %Y source.txt >"$OUT/x"; chmod 644 "$OUT/x"`, "x differs from byte 1 on: \"700000000\\n\" and \"000000000\\n\""},
		{"the time zone", `date -d @0 +%z >"$OUT/x"; chmod 644 "$OUT/x"`, `x differs from byte 2 on: "000\n" and "530\n" (6 and 6 bytes)`},
		{"the home", `echo "$HOME" >"$OUT/x"; chmod 644 "$OUT/x"`, "x differs from byte "},
		{"Go's cache", `go env GOCACHE >"$OUT/x"; chmod 644 "$OUT/x"`, "x differs from byte "},
		{"the umask", `echo >"$OUT/x"`, "x has mode "},
		{"length", `pwd | head -c $(pwd | wc -c) | tr -c x x >"$OUT/x"; chmod 644 "$OUT/x"`, "x differs from byte "},
		{"a name", `install -m 644 source.txt "$OUT/$(date -d @0 +%z)"`, "only the first has +0000"},
		{"another name", `install -m 644 source.txt "$OUT/$(date -d @0 +%z)"`, "only the second has +0530"},
		{"nothing at all", `true`, "neither has a file"},
		{"a failure", `exit 3`, "building in a: exit status 3"},
		{"a link", `ln -s /dev/null "$OUT/x"`, "x is no plain file"},
	} {
		t.Run(row.name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			err := twice(t.Context(), from, out, []string{"sh", "-euc", row.build})
			if row.want != "" {
				if err == nil || !strings.Contains(err.Error(), row.want) {
					t.Errorf("twice(%s) = %v, want %q", row.build, err, row.want)
				}
				if _, err := os.Stat(out); err == nil {
					t.Error("a build that differs was kept")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(filepath.Join(out, "x")); err != nil || string(got) != "committed\n" && string(got) != "1700000000\n" {
				t.Errorf("x has %q (%v)", got, err)
			}
			left, err := filepath.Glob(filepath.Join(filepath.Dir(out), "twice-*"))
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v (%v)", left, err)
			}
		})
	}
}
