package qemutests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestBenchEarly measures the early boot of others with latchkey-agent, beside
// the same with clevis: one disk, whose volume has a keyslot for the key server
// and one that clevis bound to a tang server. Then what a new kernel costs: the
// image of latchkey's own beside those of the tools. It runs with BENCH=1 (make
// bench) and asserts nothing about time.
func TestBenchEarly(t *testing.T) {
	if os.Getenv(interopEnv) == "" {
		t.Skip("needs " + interopEnv + "=$(images/interop-root)")
	}
	b, rounds := newBench(t, 3)
	b.bindToTang()
	b.sh("echo 'root UUID=" + benchUUID + " none luks,initramfs' >crypttab")
	for _, tool := range []string{"initramfs-tools", "dracut"} {
		b.sh("[ " + tool + " != dracut ] || : >crypttab")
		took := map[string][]float64{}
		kinds := []string{tool, tool + "-clevis"}
		for _, kind := range kinds {
			b.early(kind, kind+".img", b.s.kernel)
		}
		for range rounds {
			for _, kind := range kinds {
				b.words = "root=/dev/mapper/root ro rd.luks.name=" + benchUUID + "=root"
				if kind == "dracut-clevis" { // that of initramfs-tools takes "dhcp" for a link
					b.words += " ip=dhcp"
				}
				s, _ := b.boot(kind + ".img")
				took[kind] = append(took[kind], s)
			}
		}
		ours, theirs := median(took[tool]), median(took[tool+"-clevis"])
		fmt.Printf("%s, init's start to the real root's start, medians of %d: with latchkey-agent %.2f s, with clevis %.2f s, ratio %.2f (aim 0.5; load %s)\n",
			tool, rounds, ours, theirs, ours/theirs, load())
	}
	b.kernelUpdate()
}

// bindToTang starts a tang server and binds root.img to it, as clevis does.
func (b *bench) bindToTang() {
	b.sh("mkdir tang")
	run := func(args ...string) {
		if out, err := b.lan.debian(b.dir, args...).CombinedOutput(); err != nil {
			b.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	run("/usr/libexec/tangd-keygen", "/tmp/tang")
	s, err := startService(b.dir, "tang", b.lan.debian(b.dir, "/usr/libexec/tangd", "-l", "-p", "7500", "/tmp/tang"), os.Environ())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(s.stop)
	c, err := b.lan.dialUntil("127.0.0.1:7500", patience)
	if err != nil {
		b.t.Fatal(err)
	}
	c.Close()
	run("clevis", "luks", "bind", "-y", "-d", "/tmp/root.img", "-k", "/tmp/key", "tang", `{"url":"http://192.0.2.1:7500"}`)
}

// early makes an image as images/early-image does, and returns the seconds
// that its tool took.
func (b *bench) early(tool, image, kernel string, env ...string) float64 {
	output := filepath.Join(b.dir, image)
	cmd := exec.Command("../images/early-image", tool, b.dir, output, kernel)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.t.Fatalf("%s: %v\n%s", tool, err, out)
	}
	text, err := os.ReadFile(output + ".ms")
	if err != nil {
		b.t.Fatal(err)
	}
	ms, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	if err != nil {
		b.t.Fatal(err)
	}
	return ms / 1000
}

// kernelUpdate prints what an image for Debian's kernel of all drivers costs,
// by each tool with the settings that it comes with.
func (b *bench) kernelUpdate() {
	kernel := run(b.t, "..", "images/kernel", "amd64")
	for _, tool := range []string{"latchkey", "initramfs-tools", "dracut"} {
		seconds := b.early(tool, "update.img", kernel, "SETTINGS=theirs")
		info, err := os.Stat(filepath.Join(b.dir, "update.img"))
		if err != nil {
			b.t.Fatal(err)
		}
		fmt.Printf("image for a new kernel, %-15s %6.2f s %11d bytes\n", tool, seconds, info.Size())
	}
}
