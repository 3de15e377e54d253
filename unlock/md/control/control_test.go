package control_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"latchkey/unlock/md/control"
)

// A sysfs is a folder in which arrays with these states are, each with one
// member, 254:0.
func sysfs(t *testing.T, states map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, state := range states {
		dir := filepath.Join(root, "block", name, "md")
		holder := filepath.Join(root, "dev/block/254:0/holders", name)
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.MkdirAll(holder, 0o755), os.WriteFile(filepath.Join(dir, "array_state"), []byte(state+"\n"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// TestRun: what is written to start an array, in order, and what takes it
// back where the kernel refuses.
func TestRun(t *testing.T) {
	refused := errors.New("invalid argument")
	start := control.Start{Number: 3, Version: "1.2", Members: []control.Device{{254, 0}, {254, 16}}}
	for _, tt := range []struct {
		name   string
		states map[string]string
		number int
		refuse string
		want   []string
		made   string
	}{
		{"the number is free", nil, 3, "", []string{"new_array md3", "metadata_version 1.2", "new_dev 254:0", "new_dev 254:16", "array_state read-auto"}, "md3"},
		{"any number", nil, -1, "", []string{"new_array md127", "metadata_version 1.2", "new_dev 254:0", "new_dev 254:16", "array_state read-auto"}, "md127"},
		{"the number is taken", map[string]string{"md3": "clean", "md127": "clean"}, 3, "", []string{"new_array md126", "metadata_version 1.2", "new_dev 254:0", "new_dev 254:16", "array_state read-auto"}, "md126"},
		{"a dead process left one", map[string]string{"md5": "inactive"}, 3, "", []string{"array_state clear", "new_array md3", "metadata_version 1.2", "new_dev 254:0", "new_dev 254:16", "array_state read-auto"}, "md3"},
		{"a member is refused", nil, 3, "new_dev", []string{"new_array md3", "metadata_version 1.2", "new_dev 254:0", "array_state clear"}, ""},
		{"there is no md", nil, 3, "new_array", []string{"new_array md3"}, ""},
		{"it does not run", nil, 3, "array_state", []string{"new_array md3", "metadata_version 1.2", "new_dev 254:0", "new_dev 254:16", "array_state read-auto", "array_state clear"}, ""},
	} {
		var wrote []string
		start.Number = tt.number
		write := func(path, text string) error {
			wrote = append(wrote, filepath.Base(path)+" "+text)
			if tt.refuse == filepath.Base(path) {
				return refused
			}
			return nil
		}
		name, err := control.RunWith(sysfs(t, tt.states), write, start)
		if diff := cmp.Diff(tt.want, wrote); diff != "" || name != tt.made || (err != nil) != (tt.refuse != "") {
			t.Errorf("%s: Run = %q, %v, want %q (-want +got):\n%s", tt.name, name, err, tt.made, diff)
		}
	}
}

// TestNumbers: with all numbers taken there is an error, and no loop.
func TestNumbers(t *testing.T) {
	states := map[string]string{}
	for n := range 128 {
		states["md"+strings.TrimLeft(string([]byte{byte('0' + n/100), byte('0' + n/10%10)}), "0")+string(rune('0'+n%10))] = "clean"
	}
	write := func(path, text string) error { t.Errorf("%s is written to %s", text, path); return nil }
	if _, err := control.RunWith(sysfs(t, states), write, control.Start{Number: 3}); err == nil || !strings.Contains(err.Error(), "all numbers are taken") {
		t.Errorf("Run = %v, want an error", err)
	}
}

// TestRuns: an array that is only collected does not run.
func TestRuns(t *testing.T) {
	root := sysfs(t, map[string]string{"md0": "inactive", "md1": "clear", "md2": "read-auto", "md3": "clean", "md4": "active-idle"})
	for _, name := range []string{"md0", "md1", "md2", "md3", "md4", "md5"} {
		if got, want := control.Runs(root, name), slices.Contains([]string{"md2", "md3", "md4"}, name); got != want {
			t.Errorf("Runs(%s) = %t, want %t", name, got, want)
		}
	}
}

// TestWrite: nothing is made where sysfs has no file.
func TestWrite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "array_state")
	if err := control.Write(file, "clear"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Write to no file = %v", err)
	}
	os.WriteFile(file, nil, 0o644)
	if err := control.Write(file, "clear"); err != nil {
		t.Error(err)
	}
	if b, _ := os.ReadFile(file); string(b) != "clear" {
		t.Errorf("the file holds %q", b)
	}
}
