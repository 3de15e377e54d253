package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A place is where and under what conditions a build runs.
type place struct {
	folder string // below the work folder
	umask  string
	env    []string
	cache  bool      // a Go build cache and a home of its own
	times  time.Time // of all source files; zero leaves the commit's
}

// places differ in all that the files of a release must not depend on. The
// second compiles everything: a cache would hand out what the first made.
var places = []place{
	{folder: "a", umask: "022", env: []string{"TZ=UTC", "LC_ALL=C"}},
	{
		folder: "second/place with a space", umask: "077", env: []string{"TZ=Asia/Kathmandu", "LC_ALL=C.UTF-8", "USER=somebody"}, cache: true,
		times: time.Unix(1_000_000_000, 0),
	},
}

// A source is what is committed, as a tar archive, and when that was, in
// seconds since 1970.
type source struct {
	tar   []byte
	epoch string
}

// committed is the source of the work tree that it runs in.
func committed(ctx context.Context) (source, error) {
	tar, err := output(ctx, "git", "archive", "HEAD")
	if err != nil {
		return source{}, fmt.Errorf("%w: a release is made in a git work tree", err)
	}
	epoch, err := output(ctx, "git", "log", "-1", "--format=%ct")
	return source{tar, strings.TrimSpace(string(epoch))}, err
}

// twice runs a command in two copies of a source. It has its files written to
// $OUT, of which the first becomes out if the second has the same files with
// the same modes and bytes.
func twice(ctx context.Context, from source, out string, command []string) error {
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(filepath.Dir(out), "twice-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if work, err = filepath.Abs(work); err != nil {
		return err
	}

	var made []string
	for _, p := range places {
		began := time.Now()
		result, err := p.build(ctx, from, work, command)
		if err != nil {
			return fmt.Errorf("building in %s: %w", p.folder, err)
		}
		fmt.Fprintf(os.Stderr, "release: built in %.0f s\n", time.Since(began).Seconds())
		made = append(made, result)
	}

	if err := compare(made[0], made[1]); err != nil {
		return fmt.Errorf("two builds of one commit differ: %w", err)
	}
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	return os.Rename(made[0], out)
}

// build returns the folder of what was made.
func (p place) build(ctx context.Context, from source, work string, command []string) (string, error) {
	tree, result := filepath.Join(work, p.folder, "source"), filepath.Join(work, p.folder, "out")
	tmp := filepath.Join(work, p.folder, "tmp")
	for _, dir := range []string{tree, result, tmp} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", err
		}
	}
	if err := p.unpack(ctx, from.tar, tree); err != nil {
		return "", err
	}

	env, err := p.environment(ctx, from.epoch, tmp)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", "umask " + p.umask + `; exec "$@"`, "sh"}, command...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = tree, os.Stderr, os.Stderr
	cmd.Env = append(env, "OUT="+result)
	return result, cmd.Run()
}

// unpack writes the committed files.
func (p place) unpack(ctx context.Context, tar []byte, tree string) error {
	unpack := exec.CommandContext(ctx, "tar", "-x", "--no-same-permissions", "-C", tree)
	unpack.Stdin, unpack.Stderr = bytes.NewReader(tar), os.Stderr
	if err := unpack.Run(); err != nil || p.times.IsZero() {
		return err
	}
	return filepath.WalkDir(tree, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Chtimes(path, p.times, p.times))
	})
}

// environment is the caller's with the place's own. Modules, and what was
// fetched for building, are the same: they are checked by their sums.
func (p place) environment(ctx context.Context, epoch, tmp string) ([]string, error) {
	modules, err := output(ctx, "go", "env", "GOMODCACHE")
	if err != nil {
		return nil, err
	}
	tools := os.Getenv("LATCHKEY_CACHE")
	if tools == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, err
		}
		tools = filepath.Join(cache, "latchkey")
	}

	env := append(os.Environ(), "GOMODCACHE="+strings.TrimSpace(string(modules)), "SOURCE_DATE_EPOCH="+epoch, "LATCHKEY_CACHE="+tools, "GOFLAGS=", "TMPDIR="+tmp, "XDG_CONFIG_HOME=")
	if p.cache {
		env = append(env, "HOME="+tmp, "GOCACHE="+filepath.Join(tmp, "go-build"))
		return append(env, p.env...), quiet(tmp)
	}
	return append(env, p.env...), nil
}

// quiet keeps Go from counting what it did in a new home: a process that it
// leaves behind would still write there while the folder is removed, as once
// in 60 runs of a test. The mode is that of "go telemetry off".
func quiet(home string) error {
	dir := filepath.Join(home, ".config/go/telemetry")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "mode"), []byte("off"), 0o644)
}

func output(ctx context.Context, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("running %s %s: %w", name, strings.Join(args, " "), err)
	}
	return out, nil
}
