package hosttab

import "slices"

// A Tabled is what /etc/crypttab says of one volume, as a plan takes it over.
type Tabled struct {
	Name    string   // of the mapping, "" if no line is the volume's
	Options []string // that the plan has by the same words
	NoFail  bool
	Early   bool // it is opened in the initramfs
}

// Tabled finds the line of the volume with a UUID.
func (h Host) Tabled(uuid string) (t Tabled, err error) {
	lines, err := h.fields("/etc/crypttab", 2)
	for _, f := range lines {
		if !h.sourceIs(f[1], uuid) {
			continue
		}
		t = Tabled{Name: f[0], NoFail: has(f, "nofail"), Early: has(f, "x-initrd.attach", "initramfs")}
		for _, o := range options(f) {
			if o = canonicalOption(o); optionKinds[o] == same && !slices.Contains(t.Options, o) {
				t.Options = append(t.Options, o)
			}
		}
		return t, nil
	}
	return t, err
}

// MappingOf is the name under which the volume with a UUID is open now, "" if
// it is not.
func (h Host) MappingOf(uuid string) string {
	for _, dir := range h.mappings() {
		if cryptUUID(h.dm(dir, "uuid")) == uuid {
			return h.dm(dir, "name")
		}
	}
	return ""
}
