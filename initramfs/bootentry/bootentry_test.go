package bootentry_test

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"latchkey/initramfs/bootentry"
)

var partitions = []string{"/efi", "/boot/efi", "/boot"}

// tree makes a root of files.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// efi is a variable of the firmware's, with its attributes before it.
func efi(text string) string {
	data := []byte{7, 0, 0, 0}
	for _, c := range append(utf16.Encode([]rune(text)), 0) {
		data = binary.LittleEndian.AppendUint16(data, c)
	}
	return string(data)
}

const (
	variables = "sys/firmware/efi/efivars/"
	guid      = "-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
	sdBoot    = "efi/EFI/systemd/systemd-bootx64.efi"
	kernels   = "title T\nversion %s\nsort-key debian\nlinux /k/%s/linux\ninitrd /ucode\ninitrd /k/%s/initrd\n"
)

func entryOf(version string) string { return strings.ReplaceAll(kernels, "%s", version) }

// ids are the entries in their order, the default in brackets.
func ids(m *bootentry.Menu) string {
	var all []string
	for i, e := range m.Entries {
		if i == m.Default {
			e.ID = "[" + e.ID + "]"
		}
		all = append(all, e.ID)
	}
	return strings.Join(all, " ")
}

// TestSystemdBoot: the order of the menu, and what is started of it.
func TestSystemdBoot(t *testing.T) {
	two := map[string]string{sdBoot: "", "efi/loader/entries/d-6.9.conf": entryOf("6.9"), "efi/loader/entries/d-6.12.conf": entryOf("6.12")}
	for _, row := range []struct {
		name      string
		more      map[string]string
		want, why string
	}{
		{"the newest", nil, "[d-6.12.conf] d-6.9.conf", "the first"},
		{"loader.conf", map[string]string{"efi/loader/loader.conf": "# x\ntimeout 3\ndefault  D-6.9*\n"}, "d-6.12.conf [d-6.9.conf]", "loader.conf"},
		{"of nothing that is there", map[string]string{"efi/loader/loader.conf": "default windows*\n"}, "[d-6.12.conf] d-6.9.conf", "the first"},
		{"set-default", map[string]string{"efi/loader/loader.conf": "default d-6.12*\n", variables + "LoaderEntryDefault" + guid: efi("d-6.9.conf")}, "d-6.12.conf [d-6.9.conf]", "set-default"},
		{"saved", map[string]string{"efi/loader/loader.conf": "default @saved\n", variables + "LoaderEntryLastBooted" + guid: efi("d-6.9.conf")}, "d-6.12.conf [d-6.9.conf]", "loader.conf"},
		{"one boot", map[string]string{variables + "LoaderEntryDefault" + guid: efi("d-6.12.conf"), variables + "LoaderEntryOneShot" + guid: efi("d-6.9.conf")}, "d-6.12.conf [d-6.9.conf]", "one boot"},
		{"on a boot partition", map[string]string{"boot/loader/entries/d-6.13.conf": entryOf("6.13")}, "[d-6.13.conf] d-6.12.conf d-6.9.conf", "the first"},
		{"counted", map[string]string{"efi/loader/entries/d-6.13+2-1.conf": entryOf("6.13")}, "[d-6.13.conf] d-6.12.conf d-6.9.conf", "the first"},
		{"given up", map[string]string{"efi/loader/entries/d-6.13+0-3.conf": entryOf("6.13")}, "[d-6.12.conf] d-6.9.conf d-6.13.conf", "the first"},
		{"no counter", map[string]string{"efi/loader/entries/d-6.13+deb12.conf": entryOf("6.13")}, "[d-6.13+deb12.conf] d-6.12.conf d-6.9.conf", "the first"},
		{"without a sort key", map[string]string{"efi/loader/entries/z.conf": "linux /z\n"}, "[d-6.12.conf] d-6.9.conf z.conf", "the first"},
		{"the same, tried less", map[string]string{"efi/loader/entries/a+3.conf": entryOf("7"), "efi/loader/entries/a+2-1.conf": entryOf("7")}, "[a.conf] a.conf d-6.12.conf d-6.9.conf", "the first"},
	} {
		files := map[string]string{}
		for _, more := range []map[string]string{two, row.more} {
			for name, text := range more {
				files[name] = text
			}
		}
		m, err := bootentry.Read(tree(t, files), partitions)
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		if got := ids(m); m.Loader != bootentry.SystemdBoot || got != row.want || !strings.Contains(m.Why, row.why) {
			t.Errorf("%s: %s: %s (%s), want %s (%s)", row.name, m.Loader, got, m.Why, row.want, row.why)
		}
	}
}

// TestEntry: files are where this machine has them, and counters are read.
func TestEntry(t *testing.T) {
	root := tree(t, map[string]string{sdBoot: "", "efi/loader/entries/a+2-1.conf": entryOf("7"), "efi/k/7/initrd": "", "efi/k/7/linux": ""})
	m, err := bootentry.Read(root, partitions)
	if err != nil || len(m.Entries) != 1 {
		t.Fatalf("%v, %v", m, err)
	}
	e := m.Entries[0]
	got := []any{e.ID, e.Image, e.Kernel, e.Left, e.Counted(), e.Unified}
	if diff := cmp.Diff([]any{"a.conf", filepath.Join(root, "efi/k/7/initrd"), filepath.Join(root, "efi/k/7/linux"), 2, true, false}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

const debian = `if [ -s $prefix/grubenv ]; then
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
else
   set default="DEFAULT"
fi
function savedefault {
  if [ -z "${boot_once}" ]; then
    saved_entry="${chosen}"
  fi
}
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple-0a1b' {
	insmod gzio
	linux	/vmlinuz-6.12 root=/dev/mapper/vg-root ro quiet
	initrd	/initrd.img-6.12
}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced-0a1b' {
	menuentry 'Debian GNU/Linux, with Linux 6.12' --class debian $menuentry_id_option 'gnulinux-6.12-advanced-0a1b' {
		linux	/vmlinuz-6.12 root=/dev/mapper/vg-root ro quiet
		initrd	/initrd.img-6.12
	}
	menuentry 'Debian GNU/Linux, with Linux 6.9' --class debian $menuentry_id_option 'gnulinux-6.9-advanced-0a1b' {
		linux	/boot/vmlinuz-6.9 root=/dev/mapper/vg-root ro quiet
		initrd	/boot/ucode.img /boot/initrd.img-6.9
	}
}
menuentry "UEFI Firmware Settings" --id 'uefi-firmware' {
	fwsetup
}
`

// TestGRUB: what GRUB starts of a menu that update-grub wrote.
func TestGRUB(t *testing.T) {
	for _, row := range []struct{ name, constant, env, image, why string }{
		{"the first", "0", "", "initrd.img-6.12", "grub.cfg"},
		{"by number", "1>1", "", "initrd.img-6.9", "grub.cfg"},
		{"by id", "gnulinux-advanced-0a1b>gnulinux-6.9-advanced-0a1b", "", "initrd.img-6.9", "grub.cfg"},
		{"by title", "Advanced options for Debian GNU/Linux>Debian GNU/Linux, with Linux 6.12", "", "initrd.img-6.12", "grub.cfg"},
		{"behind the submenu", "2", "", "", "grub.cfg"},
		{"saved", "${saved_entry}", "saved_entry=1>1\n", "initrd.img-6.9", "saved_entry"},
		{"saved, and there is none", "${saved_entry}", "x=y\n", "initrd.img-6.12", "the first"},
		{"saved, and not asked for", "0", "saved_entry=1>1\n", "initrd.img-6.12", "grub.cfg"},
		{"one boot", "0", "# GRUB Environment Block\nnext_entry=1>1\n####", "initrd.img-6.9", "one boot"},
		{"of nothing that is there", "7", "", "none", ""},
		{"a submenu", "1", "", "none", ""},
	} {
		root := tree(t, map[string]string{
			"boot/grub/grub.cfg": strings.Replace(debian, "DEFAULT", row.constant, 1), "boot/grub/grubenv": row.env,
			"boot/initrd.img-6.12": "", "boot/initrd.img-6.9": "", "boot/vmlinuz-6.9": "",
		})
		m, err := bootentry.Read(root, partitions)
		if err != nil || len(m.Entries) != 4 || m.Loader != bootentry.GRUB {
			t.Errorf("%s: %v, %v", row.name, m, err)
			continue
		}
		want := row.image
		if want != "" && want != "none" {
			want = filepath.Join(root, "boot", want)
		}
		got := "none"
		if m.Default >= 0 {
			got = m.Entries[m.Default].Image
		}
		if got != want || !strings.Contains(m.Why, row.why) {
			t.Errorf("%s: it boots %q (%s), want %q", row.name, got, m.Why, want)
		}
	}
}

// TestFedora: GRUB with entries of the Boot Loader Specification.
func TestFedora(t *testing.T) {
	files := map[string]string{"boot/grub2/grub.cfg": "set default=0\ninsmod blscfg\n  blscfg\n", "boot/initramfs-6.12.img": "", "boot/vmlinuz-6.12": ""}
	for _, v := range []string{"6.9", "6.12"} {
		files["boot/loader/entries/m-"+v+".conf"] = "title F\nversion " + v + "\nlinux /vmlinuz-" + v + "\ninitrd /initramfs-" + v + ".img $tuned_initrd\n"
	}
	for env, want := range map[string]string{"": "[m-6.12] m-6.9", "saved_entry=m-6.9\n": "m-6.12 [m-6.9]", "saved_entry=m-6.9\nnext_entry=m-6.12\n": "[m-6.12] m-6.9"} {
		files["boot/grub2/grubenv"] = env
		root := tree(t, files)
		m, err := bootentry.Read(root, partitions)
		if err != nil || ids(m) != want {
			t.Errorf("grubenv %q: %v, %v; want %s", env, m, err, want)
			continue
		}
		if got := m.Entries[0].Image; got != filepath.Join(root, "boot/initramfs-6.12.img") {
			t.Errorf("the newest boots %s", got)
		}
	}
}

// TestNoLoader: a machine that boots otherwise, and one whose firmware says
// that another boot loader than the one on the disk has started it.
func TestNoLoader(t *testing.T) {
	if m, err := bootentry.Read(t.TempDir(), partitions); !errors.Is(err, bootentry.ErrNoLoader) {
		t.Errorf("an empty root: %v, %v", m, err)
	}
	root := tree(t, map[string]string{sdBoot: "", variables + "LoaderInfo" + guid: efi("GRUB 2.12"), "boot/grub/grub.cfg": debian})
	if m, err := bootentry.Read(root, partitions); err != nil || m.Loader != bootentry.GRUB {
		t.Errorf("the firmware says GRUB: %v, %v", m, err)
	}
}

// TestCounting: the file of an image whose name has counters.
func TestCounting(t *testing.T) {
	root := tree(t, map[string]string{"l-6.1+3.efi": "", "l-6.1~old.efi": "", "l-6.10+1-2.efi": "", "l-6.2.efi": "", "l-6.2+3.efi": "", "etc/kernel/tries": "3\n"})
	for name, want := range map[string]string{"l-6.1.efi": "l-6.1+3.efi", "l-6.10.efi": "l-6.10+1-2.efi", "l-6.2.efi": "l-6.2.efi", "l-6.3.efi": ""} {
		got := bootentry.Find(filepath.Join(root, name))
		if got != "" {
			got = filepath.Base(got)
		}
		if got != want {
			t.Errorf("Find(%s) = %q, want %q", name, got, want)
		}
	}
	if got := bootentry.Counted(filepath.Join(root, "l-6.2.efi")); !slices.Equal(got, []string{filepath.Join(root, "l-6.2+3.efi")}) {
		t.Errorf("Counted = %v", got)
	}
	if n, other := bootentry.Tries(root), bootentry.Tries(t.TempDir()); n != 3 || other != 0 {
		t.Errorf("Tries = %d and %d, want 3 and 0", n, other)
	}
	if got := bootentry.WithTries("a/l-6.1.efi", 3); got != "a/l-6.1+3.efi" {
		t.Errorf("WithTries = %q", got)
	}
}
