package initramfs

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// A Tree is what the kernel makes of an image's entries.
type Tree struct {
	files map[string][]Entry // by the name that they have at last
}

// Unpacked follows the entries as the kernel does: names are cleaned, and
// links to folders on their way are followed.
func Unpacked(entries []Entry) *Tree {
	t := &Tree{map[string][]Entry{}}
	links := map[string]string{}
	for _, e := range entries {
		name := follow(links, e.Name)
		delete(links, name)
		if e.Mode.IsDir() && t.files[name] == nil {
			continue // a folder that is there stays
		}
		if e.Mode&fs.ModeSymlink != 0 {
			links[name] = string(e.Data)
		}
		t.files[name] = append(t.files[name], e)
	}
	return t
}

// follow cleans a name and replaces the links in its folders.
func follow(links map[string]string, name string) string {
	for range 40 { // the kernel's MAXSYMLINKS
		name = strings.TrimPrefix(path.Clean("/"+name), "/")
		parts := strings.Split(name, "/")
		found := false
		for i := 1; i < len(parts) && !found; i++ {
			dir := path.Join(parts[:i]...)
			target, ok := links[dir]
			if !ok {
				continue
			}
			if !strings.HasPrefix(target, "/") {
				target = path.Join(path.Dir(dir), target)
			}
			name, found = path.Join(target, path.Join(parts[i:]...)), true
		}
		if !found {
			break
		}
	}
	return name
}

// File is the only entry that ends as the file name; nil if there is none.
// It is an error if the kernel would find more than one, or a link.
func (t *Tree) File(name string) (*Entry, error) {
	all := t.files[strings.TrimPrefix(path.Clean("/"+name), "/")]
	switch {
	case len(all) == 0:
		return nil, nil
	case len(all) > 1:
		return nil, fmt.Errorf("%s is in the image %d times; the kernel takes the last one: build the image again, and append nothing to it that has this file", name, len(all))
	case !all[0].Mode.IsRegular() || all[0].links > 1:
		return nil, fmt.Errorf("%s is no plain file in this image (%s, %d names): build the image again", name, all[0].Mode, all[0].links)
	}
	return &all[0], nil
}

// Doubled lists the files that are there more than once, of which the
// kernel keeps the last.
func (t *Tree) Doubled() (names []string) {
	for name, all := range t.files {
		if len(all) > 1 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
