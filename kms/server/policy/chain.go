package policy

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"

	"latchkey/kms/server/eventlog"
)

// Boot loaders of a Chain.
const (
	LoaderNone    = "none" // the firmware starts the kernel itself
	LoaderSystemd = "systemd-boot"
	LoaderGRUB    = "grub"
)

// A Chain is a boot without a unified kernel image: which programs the
// firmware and the boot loader start, and with which initrd and command line.
// It is judged by what the boot's event log has of these, since what firmware
// measures around it is another thing on each machine.
type Chain struct {
	Loader      string   `json:"loader"`
	Programs    []Digest `json:"programs"`        // Authenticode, PCR 4: boot loaders, and last the kernel; nothing else may be started
	Initrd      Digest   `json:"initrd"`          // the file, PCR 9
	Kernel      Digest   `json:"kernel,omitzero"` // the file, as GRUB reads it, PCR 9
	Files       []Digest `json:"files,omitempty"` // what else GRUB may read, PCR 9
	CommandLine string   `json:"command_line"`    // PCR 8 by GRUB, 9 by the kernel, 12 by systemd-boot
}

// ChainPCRs must be quoted for a chain to be judged: drivers (2), programs
// (4), GRUB's commands (8), files (9), systemd-boot's command line (12).
var ChainPCRs = []int{2, 4, 8, 9, 12}

// maxChain bounds a chain's lists: eventlog has no longer ones.
const maxChain = 32

// Check says what is wrong with a chain by itself.
func (c *Chain) Check() error {
	switch {
	case !slices.Contains([]string{LoaderNone, LoaderSystemd, LoaderGRUB}, c.Loader):
		return fmt.Errorf("boot loader %.40q: what is measured is known of systemd-boot, grub, and none", c.Loader)
	case len(c.Programs) == 0 || slices.Contains(c.Programs, Digest{}):
		return errors.New("it does not say which kernel is started")
	case len(c.Programs) == 1 && c.Loader != LoaderNone:
		return fmt.Errorf("it does not say which %s is started", c.Loader)
	case c.Initrd == (Digest{}) || c.Loader == LoaderGRUB && c.Kernel == (Digest{}):
		return errors.New("it does not say what is read: kernel and initrd")
	case strings.TrimSpace(c.CommandLine) == "" || len(c.CommandLine) > 4096:
		return errors.New("its command line is empty, or has more than 4096 bytes")
	case len(c.Programs) > maxChain || len(c.Files) > maxChain*maxChain:
		return errors.New("it has too many programs or files")
	}
	return nil
}

// By is who starts the kernel, for people.
func (c *Chain) By() string {
	if c.Loader == LoaderNone {
		return "the firmware"
	}
	return c.Loader
}

// covers: a kernel that was started by one of these loaders was given its
// command line by the chain, and PCR 12 is the command line's, or empty.
func (c *Chain) covers(pcr int) bool { return pcr == 12 }

// match says what of a boot is not as the chain wants it; nothing: it is all
// right. Each of PCRs 4 and 9 must be told by the log to the last event: what
// a loader reads beside what is known could be what it starts.
func (c *Chain) match(f Facts) (wrong []string) {
	s := f.Boot
	if s == nil {
		return []string{f.unjudged()}
	}
	for _, pcr := range ChainPCRs {
		if _, ok := f.PCRs[pcr]; !ok {
			return []string{fmt.Sprintf("PCR %d was not quoted: it is from the next time it asks", pcr)}
		}
	}

	no := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	c.matchDrivers(f, no)
	c.matchPrograms(f, no)
	c.matchFiles(s, no)
	if c.Loader == LoaderGRUB {
		c.matchGRUB(s, no)
	} else {
		c.matchOptions(s, no)
	}
	return wrong
}

// noDrivers is what of PCR 2 is not told where there is only its separator.
var noDrivers = func() Digest {
	separator := sha256.Sum256(make([]byte, 4))
	return sha256.Sum256(separator[:])
}()

// matchDrivers: without Secure Boot, a driver that somebody put on the disk
// is started before all else, and could measure whatever it likes. It is in
// PCR 2, among those of the machine's cards.
func (c *Chain) matchDrivers(f Facts, no refusal) {
	rest := f.Boot.Rest[2]
	if f.Boot.SecureBoot == eventlog.On || rest == noDrivers || f.ApprovedBoot != nil && f.ApprovedBoot.Rest[2] == rest {
		return
	}
	no("Secure Boot is %s, and PCR 2 has drivers that the approved boot had not", known(f.Boot.SecureBoot))
}

func (c *Chain) matchPrograms(f Facts, no refusal) {
	s := f.Boot
	for _, p := range s.Programs {
		if !slices.Contains(c.Programs, p.SHA256) {
			no("%s was started", p.Called(f.Programs))
		}
	}
	if s.Rest[4] != (Digest{}) {
		no("PCR 4 has too many programs to tell")
	}
	if n := len(s.Programs); n == 0 || s.Programs[n-1].SHA256 != c.Programs[len(c.Programs)-1] {
		no("its kernel was not what was started last")
	}
}

// matchFiles: what was read is known to the last file, and the initrd, and
// for GRUB the kernel, is among it.
func (c *Chain) matchFiles(s *eventlog.Summary, no refusal) {
	may := append([]Digest{c.Initrd}, loadOptions(c.CommandLine)...)
	if c.Loader == LoaderGRUB {
		may = slices.Concat([]Digest{c.Initrd, c.Kernel}, c.Files, c.options(s))
	}
	var initrd, kernel bool
	for _, m := range s.Files {
		initrd, kernel = initrd || m.SHA256 == c.Initrd, kernel || m.SHA256 == c.Kernel
		if !slices.Contains(may, m.SHA256) {
			no("PCR 9 has another %s (%x…)", cmp.Or(m.Name, "file"), m.SHA256[:4])
		}
	}
	if !initrd {
		no("its initrd was not read")
	}
	if c.Loader == LoaderGRUB && !kernel {
		no("GRUB did not read its kernel")
	}
	if s.Rest[9] != (Digest{}) {
		no("PCR 9 has too many files to tell")
	}
}

// options are what the kernel's EFI stub measures of the command line that
// GRUB from 2.12 on gives it: with the path of the kernel in front.
func (c *Chain) options(s *eventlog.Summary) (list []Digest) {
	for _, command := range s.Loads {
		if words := strings.Fields(command); len(words) > 1 {
			list = append(list, loadOptions("BOOT_IMAGE="+words[1]+" "+c.CommandLine)...)
		}
	}
	return list
}

// matchGRUB: GRUB says in PCR 8 which commands it runs, and what the kernel's
// command line is. Which of the two a text is was not measured, so that all
// count that could be either. Without Secure Boot GRUB has commands that
// change memory.
func (c *Chain) matchGRUB(s *eventlog.Summary, no refusal) {
	if s.SecureBoot != eventlog.On {
		no("Secure Boot is %s: GRUB then has commands that change what it has read", known(s.SecureBoot))
	}
	if s.Rest[8] != (Digest{}) {
		no("PCR 8 has commands that cannot be told")
	}
	if len(s.Config) > 0 || s.Rest[12] != (Digest{}) {
		no("PCR 12 is not empty")
	}
	started := false
	for _, command := range s.Loads {
		words := strings.Fields(command)
		switch {
		case strings.HasPrefix(words[0], "initrd"):
			if slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(w, "newc:") }) {
				no("GRUB put files into the initrd: %q", command)
			}
		case len(words) < 2 || !slices.Equal(words[2:], strings.Fields(c.CommandLine)):
			no("GRUB ran %q", command)
		default:
			started = true
		}
	}
	if !started || !slices.Equal(strings.Fields(s.CommandLine), strings.Fields(c.CommandLine)) {
		no("command line is %q", known(s.CommandLine))
	}
}

// matchOptions: the kernel's EFI stub measures its load options into PCR 9
// (drivers/firmware/efi/libstub/efi-stub-helper.c), and systemd-boot those
// that it gives into PCR 12 (src/boot/efi/measure.c, tpm_log_load_options).
func (c *Chain) matchOptions(s *eventlog.Summary, no refusal) {
	options := loadOptions(c.CommandLine)
	if !slices.ContainsFunc(s.Files, func(m eventlog.Measured) bool { return slices.Contains(options, m.SHA256) }) {
		no("command line is %q", known(s.CommandLine))
	}
	for _, m := range s.Config {
		if !slices.Contains(options, m.SHA256) {
			no("PCR 12 has %q", m.Name)
		}
	}
	if s.Rest[12] != (Digest{}) {
		no("PCR 12 has too much to tell")
	}
}

// loadOptions are digests of a command line as EFI programs are given it:
// UTF-16, with a NUL or without.
func loadOptions(line string) []Digest {
	var wide []byte
	for _, u := range utf16.Encode([]rune(line)) {
		wide = binary.LittleEndian.AppendUint16(wide, u)
	}
	return []Digest{sha256.Sum256(wide), sha256.Sum256(append(wide, 0, 0))}
}
