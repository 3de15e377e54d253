// Package control has the kernel run arrays, by the files of sysfs:
// Documentation/admin-guide/md.rst. It makes them read-only until the first
// write ("read-auto"): no superblock, no bitmap and no parity is written
// before.
package control

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A Device is a block device's number.
type Device struct{ Major, Minor uint32 }

// A Start is an array to be run.
type Start struct {
	Number  int    // that the array should have: /dev/mdN; -1 is any
	Version string // of the superblocks, "0.90" or "1.2"
	Members []Device
}

// highest is the number that mdadm begins with when any will do; it counts
// down (find_free_devnm in util.c).
const highest = 127

// A sysfs is the kernel's, or a folder in tests.
type sysfs struct {
	root  string
	write func(path, text string) error
}

// Run runs an array and returns its name, "md127". After an error no array
// is left.
func Run(s Start) (name string, err error) { return sysfs{"/sys", write}.run(s) }

func (sys sysfs) run(s Start) (name string, err error) {
	sys.release(s.Members)
	if name, err = sys.create(s.Number); err != nil {
		return "", fmt.Errorf("making an array: %w", err)
	}

	dir := filepath.Join(sys.root, "block", name, "md")
	err = sys.write(filepath.Join(dir, "metadata_version"), s.Version)
	for _, m := range s.Members {
		if err == nil {
			err = sys.write(filepath.Join(dir, "new_dev"), fmt.Sprintf("%d:%d", m.Major, m.Minor))
		}
	}
	if err == nil {
		err = sys.write(filepath.Join(dir, "array_state"), "read-auto")
	}
	if err != nil {
		clearErr := sys.write(filepath.Join(dir, "array_state"), "clear")
		return "", errors.Join(fmt.Errorf("running array %s: %w", name, err), clearErr)
	}
	return name, nil
}

// create makes an array without members under the number, or the next that
// is free.
func (sys sysfs) create(number int) (name string, err error) {
	numbers := []int{}
	if number >= 0 {
		numbers = append(numbers, number)
	}
	for n := highest; n >= 0; n-- {
		numbers = append(numbers, n)
	}
	for _, n := range numbers {
		name = fmt.Sprintf("md%d", n)
		if _, err := os.Stat(filepath.Join(sys.root, "block", name)); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return name, sys.write(filepath.Join(sys.root, "module/md_mod/parameters/new_array"), name)
	}
	return "", errors.New("all numbers are taken")
}

// release frees members that an array has which does not run: a process that
// died in the middle of Run leaves such a one.
func (sys sysfs) release(members []Device) {
	for _, m := range members {
		holders, _ := os.ReadDir(filepath.Join(sys.root, "dev/block", fmt.Sprintf("%d:%d", m.Major, m.Minor), "holders"))
		for _, h := range holders {
			if strings.HasPrefix(h.Name(), "md") && !Runs(sys.root, h.Name()) {
				sys.write(filepath.Join(sys.root, "block", h.Name(), "md/array_state"), "clear") // if it fails, the kernel says that the member is busy
			}
		}
	}
}

// Stop stops an array that nobody uses: "md127".
func Stop(name string) error { return sysfs{"/sys", write}.stop(name) }

func (sys sysfs) stop(name string) error {
	if err := sys.write(filepath.Join(sys.root, "block", name, "md/array_state"), "clear"); err != nil {
		return fmt.Errorf("stopping array %s: %w", name, err)
	}
	return nil
}

// Runs tells whether an array has been started: "md127". sys is "/sys" but
// for tests.
func Runs(sys, name string) bool {
	state, err := os.ReadFile(filepath.Join(sys, "block", name, "md/array_state"))
	text := strings.TrimSpace(string(state))
	return err == nil && text != "inactive" && text != "clear"
}

// write writes to a file of sysfs, which must be there.
func write(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
