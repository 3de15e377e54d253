package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"latchkey/initramfs"
	"latchkey/internal/plan"
)

// A checkedPlan is what one boot would do.
type checkedPlan struct {
	*plan.Plan
	path    string
	version string          // the kernel's, "" if nothing tells
	modules *plan.Modules   // nil of a configuration
	tree    *initramfs.Tree // what is in the image, nil of a configuration
	kernel  []byte          // of a unified kernel image
	file    []byte          // the plan as it is written
	cmdline string          // of the boot
	place   place           // where it is put
}

// key tells plans apart that differ in more than the modules that they load.
func (p checkedPlan) key() string {
	same, err := plan.Decode(p.file)
	if err != nil {
		return p.path
	}
	same.Modules = plan.Load{}
	text, err := same.Encode()
	if err != nil {
		return p.path
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\n%s\n", text, p.cmdline)
	for _, f := range p.KeyFiles {
		fmt.Fprintf(sum, "%s %x\n", f.Name, sha256.Sum256(p.content(f.InImage())))
	}
	return string(sum.Sum(nil))
}

// content is a file of the image, nil if it has none of that name.
func (p checkedPlan) content(name string) []byte {
	if p.tree == nil {
		return nil
	}
	e, err := p.tree.File(name)
	if e == nil || err != nil {
		return nil
	}
	return e.Data
}

// named is the plan of an image or a configuration that was named.
func (c *checker) named(path string) []checkedPlan {
	p, _, err := c.read(path)
	if err != nil {
		c.fail("image", "", "name an image of latchkey's, or a latchkey.yaml", "%v", err)
		return nil
	}
	c.ok("image", "", "%s: %s", path, p)
	return []checkedPlan{p}
}

// installed are the plans of this machine's images.
func (c *checker) installed() (plans []checkedPlan) {
	config, err := readConfigBelow(c.update.root, c.update.path(c.update.config))
	if err != nil {
		c.fail("image", "", "write the configuration (docs/plan.md), then: latchkey image update --all", "%v", err)
		return nil
	}
	wanted, err := config.Plan()
	if err != nil {
		c.fail("image", "", "correct it, then: latchkey image update --all", "%v", err)
		return nil
	}
	versions, err := c.update.versions()
	if err != nil {
		c.fail("image", "", "install a kernel, or name its image", "%v", err)
		return nil
	}
	for _, v := range versions {
		files := config.Image.For(v)
		path := files.Initrd
		if files.UKI != "" {
			path = files.UKI
		}
		path = imageAt(c.update.path(path))
		if p, ok := c.image(path, v); ok {
			p.place = newPlace(c.update.path(cmp.Or(files.UKI, files.Initrd)))
			c.fresh(p, config, wanted, files)
			plans = append(plans, p)
		}
		c.room(path, v)
	}
	c.entries(plans)
	return plans
}

func updateLine(version string) string { return "latchkey image update --kernel-version " + version }

// image reads one image whole, as the kernel would.
func (c *checker) image(path, version string) (p checkedPlan, ok bool) {
	p, size, err := c.read(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.fail("image", version, updateLine(version), "%s is not there: this kernel boots as the distribution does, and asks for a passphrase", path)
		return p, false
	case err != nil:
		c.fail("image", version, updateLine(version), "%s is not latchkey's, or is damaged: %v", path, err)
		return p, false
	}
	p.version = version
	if p.modules != nil {
		for _, m := range p.modules.List {
			if built := strings.Split(m.Path, "/"); len(built) > 3 && built[3] != version {
				c.fail("image", version, updateLine(version), "%s has the modules of another kernel, %s", path, built[3])
				return p, false
			}
		}
	}
	c.ok("image", version, "%s is whole: %d bytes, %d modules", path, size, len(p.modules.List))
	return p, true
}

// read takes the plan out of an image, with what the boot will find beside it.
func (c *checker) read(path string) (p checkedPlan, sizeBytes int64, err error) {
	source, err := readPlanBelow(below(c.update.root), path)
	if err != nil {
		return p, 0, err
	}
	p = checkedPlan{path: path, modules: source.modules, tree: source.tree, kernel: source.kernel, file: source.plan, cmdline: c.cmdline}
	if p.cmdline == "" {
		p.cmdline = source.cmdline
	}
	if p.cmdline == "" {
		text, _ := os.ReadFile(c.update.path("/proc/cmdline"))
		p.cmdline = strings.TrimSpace(string(text))
	}
	if p.Plan, _, err = plan.Parse(source.plan, p.cmdline, source.cmdline); err != nil {
		return p, 0, fmt.Errorf("%s: %w", path, err)
	}
	if source.noTLS && p.NeedsTLS() {
		return p, 0, errors.New("its init has no TLS, and the plan needs the one that has")
	}
	info, err := os.Stat(path)
	if err != nil {
		return p, 0, err
	}
	return p, info.Size(), nil
}

// fresh compares an image with what it would be made of now.
func (c *checker) fresh(p checkedPlan, config *initramfs.Config, wanted *plan.Plan, files initramfs.ImageConfig) {
	if !samePlan(p.file, wanted) {
		c.warn("image", p.version, updateLine(p.version), "%s was not built by this %s: the boot goes by what the image has", p.path, c.update.config)
		return
	}
	if old := c.outdated(p, config, wanted, files); old != "" {
		c.warn("image", p.version, updateLine(p.version), "%s is not as it was when %s was built of it", old, p.path)
		return
	}
	c.ok("image", p.version, "it is what %s and the files that it is made of say", c.update.config)
}

// outdated is a file that an image was made of and that is another now. What
// packages bring has the time of its packaging, so it is compared by content;
// modules.dep is written where they are installed.
func (c *checker) outdated(p checkedPlan, config *initramfs.Config, wanted *plan.Plan, files initramfs.ImageConfig) string {
	same := map[string][]byte{c.initOf(wanted): p.content("/init")}
	if files.UKI != "" {
		same[c.update.path(files.Kernel)] = p.kernel
	}
	for name, have := range same {
		if is, err := os.ReadFile(name); err == nil && !bytes.Equal(is, have) {
			return name
		}
	}

	built, err := os.Stat(p.path)
	if err != nil {
		return p.path
	}
	for _, name := range append(config.Files(wanted), c.update.path("/lib/modules/"+p.version+"/modules.dep")) {
		if made, err := os.Stat(name); err == nil && made.ModTime().After(built.ModTime()) {
			return name
		}
	}
	return ""
}

func (c *checker) initOf(p *plan.Plan) string {
	build := imageBuild{system: c.update.root}
	return build.findInit(initramfs.InitName(p))
}

// samePlan compares the plan of an image with a compiled one; the modules that
// are always loaded depend on the kernel, and disks with several paths are
// looked for when an image is built.
func samePlan(file []byte, wanted *plan.Plan) bool {
	have, err := plan.Decode(file)
	if err != nil {
		return false
	}
	have.Modules, have.Multipath = plan.Load{}, nil
	want := *wanted
	want.Modules = plan.Load{}
	a, err := have.Encode()
	b, wantErr := want.Encode()
	return err == nil && wantErr == nil && bytes.Equal(a, b)
}

// room tells whether the next image would fit beside this one: it is written
// before this one is given up.
func (c *checker) room(path, version string) {
	info, err := os.Stat(path)
	if err != nil {
		return // told already
	}
	dir := filepath.Dir(path)
	free, err := freeBytes(dir)
	if err != nil {
		c.warn("image", version, "findmnt -T "+dir, "looking for room in %s: %v", dir, err)
		return
	}
	if free < info.Size() {
		c.warn("image", version, "remove kernels that are not needed", "the next image will not fit: %s has %d MB left, and this one has %d MB", dir, free>>20, info.Size()>>20)
	}
}
