package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"latchkey/kms"
	"latchkey/kms/config"
	"latchkey/kms/home"
	"latchkey/kms/server"
	"latchkey/kms/softtpm"
	"latchkey/kms/store"
	"latchkey/kms/store/bolt"
)

// A frozen is a database as a version left it.
type frozen struct {
	t    *testing.T
	dir  string // of the data directory
	home home.Home
	run  *fixture
}

// formatOne are the tables that a program of format 1 knew.
var formatOne = []string{
	"meta", "audit", "keys", "ended", "nodes", "pending", "releases", "volumes", "secrets", "owners", "spent", "cookies", "pushes",
	"kairos-nodes", "kairos-pending", "kairos-secrets", "kairos-aks", "talos-nodes", "talos-pending", "tokens", "signouts",
}

func thaw(t *testing.T, name string) *frozen {
	t.Helper()
	dir := t.TempDir()
	from, data := filepath.Join("testdata/frozen", name), filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"kms.db.gz", "epoch", "wrapping.key"} {
		b, err := os.ReadFile(filepath.Join(from, file))
		if err != nil {
			t.Fatal(err)
		}
		if plain, packed := strings.CutSuffix(file, ".gz"); packed {
			r, err := gzip.NewReader(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			if b, err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
			file = plain
		}
		if err := os.WriteFile(filepath.Join(data, file), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &frozen{t: t, dir: dir, run: &fixture{dir: dir}, home: home.Home{Location: config.Location{Data: data, Place: config.Place{Kind: config.Bolt, Path: filepath.Join(data, "kms.db")}}}}
}

// must runs a command on it, and returns what it prints.
func (f *frozen) must(text string) string {
	f.t.Helper()
	out, err := f.run.command(f.dir, text)
	if err != nil {
		f.t.Fatalf("latchkey-kms %s: %v\n%s", text, err, out)
	}
	return out
}

// serves has the machines ask: the one that owns a volume gets it.
func (f *frozen) serves() {
	f.t.Helper()
	process, address := serveAs(f.t, f.home)
	defer func() {
		process.Process.Signal(syscall.SIGTERM)
		if err := process.Wait(); err != nil {
			f.t.Error(err)
		}
	}()
	pins := f.pins()
	for name, want := range map[string]string{"anna": "", "ben": "quarantined", "carl": "pending"} {
		tpm, err := softtpm.Named(name)
		if err != nil {
			f.t.Fatal(err)
		}
		uuid, err := kms.ParseUUID(exampleUUID)
		if err != nil {
			f.t.Fatal(err)
		}
		client := &kms.Client{Pins: pins}
		_, err = client.Get(f.t.Context(), address, tpm, []kms.Want{{UUID: uuid, Digest: [32]byte{1}, SeqID: 3}})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			f.t.Errorf("%s hears %v, want %q", name, err, want)
		}
	}
}

func (f *frozen) pins() (all []kms.Pin) {
	f.t.Helper()
	for _, text := range f.run.pins(f.t, f.dir) {
		pin, err := kms.ParsePin(text)
		if err != nil {
			f.t.Fatal(err)
		}
		all = append(all, pin)
	}
	return all
}

// filled are the tables that have rows.
func (f *frozen) filled() (names []string) {
	f.t.Helper()
	db, err := bolt.Open(f.home.Place.Path, false, server.Tables())
	if err != nil {
		f.t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(r store.Reader) error {
		for _, table := range server.Tables() {
			r.Scan(table, nil, func(_, _ []byte) bool { names = append(names, table); return false })
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return names
}

// H7: a store of each format is opened, served, checked and changed; it stays
// as its own version can read it until it is upgraded, and serves after that.
func TestFrozen(t *testing.T) {
	folders, err := filepath.Glob("testdata/frozen/format*")
	if err != nil || len(folders) < 3 {
		t.Fatalf("frozen databases: %v, %v", folders, err)
	}
	for _, folder := range folders {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			f := thaw(t, filepath.Base(folder))
			f.must("store check")
			f.serves()
			f.must("volume put 8b7f0000-0000-4000-8000-00000000000a --generate")
			f.must("store check")
			for _, table := range f.filled() {
				if filepath.Base(folder) == "format1" && !slices.Contains(formatOne, table) {
					t.Errorf("the table %s has rows, which a program of format 1 does not know", table)
				}
			}

			if out, err := f.run.command(f.dir, "store rekey"); filepath.Base(folder) < "format3" && (err == nil || !strings.Contains(out, "run: latchkey-kms store upgrade")) {
				t.Errorf("store rekey before the upgrade: %v, %s, want it refused", err, out)
			}
			if err := os.WriteFile(filepath.Join(f.dir, "kms.yaml"), []byte("policy: {defaults: {per-boot: 100}}\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, command := range []string{"policy apply -f kms.yaml", "site add berlin --label site=berlin --at kms.example.org:7744 --output berlin.site", "node set W --presence 10m"} {
				if out, err := f.run.command(f.dir, command); filepath.Base(folder) < "format3" && (err == nil || !strings.Contains(out, "run: latchkey-kms store upgrade")) {
					t.Errorf("%s before the upgrade: %v, %s, want it refused", command, err, out)
				}
			}
			f.must("store check")
			says := map[string]string{"format1": "was in format 1 ", "format2": "was in format 2 ", "format3": "in format 3 already"}[filepath.Base(folder)]
			if out := f.must("store upgrade"); !strings.Contains(out, says) {
				t.Errorf("store upgrade says %s, want %q", out, says)
			}
			f.must("audit seal")
			if out := f.must("audit segments"); !strings.Contains(out, "store\n") {
				t.Errorf("after the upgrade nothing is sealed:\n%s", out)
			}
			f.serves()
			f.must("audit verify")
			f.must("store rekey")
			f.must("store check")
			f.serves()
		})
	}
}
