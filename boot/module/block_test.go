package module_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	writer "github.com/ulikunitz/xz/lzma"

	"latchkey/boot/module"
	"latchkey/internal/plan"
)

// packed is an index whose modules raid, ring and net are in blocks, the last
// in one of its own, and what inserts them reads.
func packed(t *testing.T) (dir string, index *plan.Modules) {
	t.Helper()
	dir = t.TempDir()
	index = &plan.Modules{List: []plan.Module{
		{Path: "/drivers/raid.ko", Part: plan.Part{Block: 0, Offset: 0, Size: 7}},
		{Path: "/drivers/ring.ko", Part: plan.Part{Block: 0, Offset: 7, Size: 5}},
		{Path: "/drivers/net.ko", Deps: []int{1}, Params: "a=1", Part: plan.Part{Block: 1, Offset: 0, Size: 3}},
	}}
	for i, text := range []string{"RAID 10RINGS", "NET"} {
		var out bytes.Buffer
		w, err := writer.WriterConfig{EOSMarker: true}.NewWriter(&out)
		if err != nil {
			t.Fatal(err)
		}
		w.Write([]byte(text))
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "seldom-0"+string(rune('0'+i))+".lzma")
		if err := os.WriteFile(file, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		index.Blocks = append(index.Blocks, plan.Block{File: file, Size: len(text), Sum: sha256.Sum256([]byte(text))})
	}
	return dir, index
}

// loaded loads all by name, and tells what the kernel got and what was logged.
func loaded(t *testing.T, index *plan.Modules, bad string) (got, log string) {
	t.Helper()
	var mu sync.Mutex
	var list []string
	insert := func(path, params string) error {
		data, err := os.ReadFile(path)
		if err != nil || plan.ModuleName(filepath.Base(path)) == "" {
			return err
		}
		if string(data) == bad {
			return errors.New("bad message")
		}
		mu.Lock()
		defer mu.Unlock()
		list = append(list, strings.TrimSpace(string(data)+" "+params))
		return nil
	}
	var text bytes.Buffer
	l := module.New(index, nil, insert, slog.New(slog.NewTextHandler(&text, nil)))
	l.Named("raid")
	l.Named("net", "raid")
	return strings.Join(list, ","), text.String()
}

func TestLoadFromBlocks(t *testing.T) {
	dir, index := packed(t)
	if got, log := loaded(t, index, ""); got != "RAID 10,RINGS,NET a=1" || log != "" {
		t.Errorf("the kernel got %q, the log %q, want each module as it was, each once", got, log)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.ko")); len(left) > 0 {
		t.Errorf("%v are left, which take memory", left)
	}
}

// A block or a module that is bad is named, and the rest is loaded.
func TestLoadFromBadBlocks(t *testing.T) {
	for _, tt := range []struct {
		name     string
		do       func(t *testing.T, index *plan.Modules)
		bad      string
		got, log string
	}{
		{"a block is missing", func(t *testing.T, index *plan.Modules) { os.Remove(index.Blocks[0].File) }, "", "", "module=raid"},
		{"a block is cut", func(t *testing.T, index *plan.Modules) { os.Truncate(index.Blocks[1].File, 20) }, "", "RAID 10,RINGS", "module=net"},
		{"a block holds something else", func(t *testing.T, index *plan.Modules) { index.Blocks[1].Sum[0]++ }, "", "RAID 10,RINGS", "its checksum is another"},
		{"the kernel refuses a module", func(*testing.T, *plan.Modules) {}, "NET", "RAID 10,RINGS", "module=net err=\"bad message\""},
	} {
		_, index := packed(t)
		tt.do(t, index)
		if got, log := loaded(t, index, tt.bad); got != tt.got || !strings.Contains(log, tt.log) {
			t.Errorf("%s: the kernel got %q, want %q; the log is %q, want %q in it", tt.name, got, tt.got, log, tt.log)
		}
	}
}
