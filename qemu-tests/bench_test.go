package qemutests

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"latchkey/unlock/tpm/tpmtest"
)

// TestBenchBoot measures whole boots, ours and the floor's in turn, and
// prints the ratio. It runs with BENCH=1 (make bench) and asserts nothing
// about time.
func TestBenchBoot(t *testing.T) {
	b, rounds := newBench(t, 5)
	var floor, ours, floorCPU, ourCPU []float64
	for i := range rounds {
		f, fc := b.boot("floor.img")
		o, oc := b.boot("initrd.img")
		floor, floorCPU, ours, ourCPU = append(floor, f), append(floorCPU, fc), append(ours, o), append(ourCPU, oc)
		fmt.Printf("round %d: floor %.3f s, latchkey %.3f s (load %s)\n", i+1, f, o, load())
	}

	f, o := median(floor), median(ours)
	fmt.Printf("init's start to the real root's start, medians of %d: floor %.3f s, latchkey %.3f s, ratio %.2f (aim 2.0)\n", rounds, f, o, o/f)
	fmt.Printf("the virtual machine's CPU from power on to off, medians: floor %.2f s, latchkey %.2f s\n", median(floorCPU), median(ourCPU))
	fmt.Printf("the last of ours, step by step: %s\n", b.steps)

	for _, file := range []string{"floor.img", "initrd.img"} {
		info, err := os.Stat(filepath.Join(b.dir, file))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("%s: %d bytes\n", file, info.Size())
	}
}

type bench struct {
	t     *testing.T
	s     *shared
	dir   string
	lan   *lan
	tap   string
	steps string
	chip  *tpmtest.Chip // nil: swtpm itself
	disks []string      // of the machine
	words string        // more of the kernel's command line
	cable time.Duration // how long after the init's start the cable is in; 0: always
	began time.Time     // the init, or the carrier if it came later
	mem   int           // MiB
	whole float64       // seconds from the kernel's start to the real root's
}

const benchUUID = "be7c0000-0000-4000-8000-000000000001"

// newBench skips the test unless BENCH=1. ROUNDS is how often it measures, if
// not rounds.
func newBench(t *testing.T, rounds int) (*bench, int) { return newBenchWith(t, rounds, "") }

// newBenchWith has machines with Debian's kernel of this flavor.
func newBenchWith(t *testing.T, rounds int, flavor string) (*bench, int) {
	if os.Getenv("BENCH") == "" {
		t.Skip("measures for minutes: run make bench")
	}
	if reason := missing(); reason != "" {
		t.Fatal(reason)
	}
	if n, err := strconv.Atoi(os.Getenv("ROUNDS")); err == nil {
		rounds = n
	}

	s := prepare(t)
	b := &bench{t: t, s: s, dir: t.TempDir(), disks: []string{"root.img"}, mem: 512}
	top, _ := filepath.Abs("..")
	if flavor != "" {
		var err error
		s.kernel = run(t, top, filepath.Join(top, "images/kernel"), flavor)
		if s.modules, err = modulesOf(s.kernel); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"floor", "marker"} {
		run(t, top, "gcc", "-O2", "-static", "-o", filepath.Join(b.dir, name), "qemu-tests/floor/"+name+".c")
	}
	b.makeDisk()
	b.makeFloor()
	b.startLAN()
	return b, rounds
}

func (b *bench) sh(script string) string { return run(b.t, b.dir, "sh", "-ec", script) }

// makeDisk makes the volume that both open: pbkdf2 slot, 64 MiB.
func (b *bench) makeDisk() {
	b.sh(`mkdir -p tree/sbin tree/dev tree/proc tree/sys tree/run tree/etc tree/usr && cp marker tree/sbin/init && echo ID=marker >tree/etc/os-release
truncate -s 64M root.ext4 && mke2fs -q -t ext4 -d tree root.ext4
head -c 32 /dev/urandom >key
` + b.s.bin + `/latchkey volume encrypt --kdf pbkdf2 --key-file key --uuid ` + benchUUID + ` root.ext4 root.img
cryptsetup luksDump -q --dump-volume-key --key-file key --volume-key-file volume.key root.img >/dev/null`)
}

// startLAN starts DHCP, the KMS with the node approved in advance, and
// the responder.
func (b *bench) startLAN() {
	var err error
	if b.lan, err = newLAN(); err != nil {
		b.t.Fatal(err)
	}

	b.t.Cleanup(b.lan.close)
	if b.tap, err = b.lan.tap(); err != nil {
		b.t.Fatal(err)
	}

	kms := b.s.bin + "/latchkey-kms"
	b.sh(kms + ` init --data kms >/dev/null && ` + kms + ` volume put ` + benchUUID + ` --key-file key --data kms >/dev/null
{ echo 'find: {urls: ["http://kms.local"]}'; echo 'root: {fstype: ext4}'; echo 'on-fail: {action: poweroff, after: 0s}'
echo 'volumes: [{uuid: ` + benchUUID + `, name: root}]'; ` + kms + ` trust --data kms; } >latchkey.yaml
` + b.s.bin + `/latchkey image build --config latchkey.yaml --modules ` + b.s.modules + ` --microcode "" --output initrd.img >/dev/null
mkdir tpm && swtpm_setup --tpm2 --tpmstate tpm --pcr-banks sha256 >/dev/null`)

	b.service("dhcp", "DHCP, IP range", "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=br0", "--bind-interfaces",
		"--dhcp-authoritative", "--no-ping", "--dhcp-range=192.0.2.100,192.0.2.150,255.255.255.0,1h", "--log-facility=-", "--user=root", "--pid-file=", "--dhcp-leasefile="+b.dir+"/leases")
	b.service("kms", "listening on", kms, "serve", "--data", "kms", "--listen", "192.0.2.1:7741")
	b.service("responder", "answering", b.s.bin+"/latchkey-responder", "--host", "kms.local", "--target", "192.0.2.1:7741", "--interface", "br0")

	// The first boot enrolls, unmeasured.
	m := b.power("initrd.img")
	found, err := m.out.wait(regexp.MustCompile(`this machine is ["']([a-z ]+)["']`), patience)
	if err != nil {
		b.t.Fatal(err)
	}

	b.sh(kms + ` node approve ` + found[1] + ` --volume ` + benchUUID + ` --unmeasured --data kms >/dev/null`)
	<-m.done
}

func (b *bench) service(name, ready string, args ...string) {
	s, err := startService(b.dir, name, b.urgent(args[0], args[1:]...), os.Environ())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(s.stop)
	if _, err := s.out.wait(regexp.MustCompile(ready), 20*time.Second); err != nil {
		b.t.Fatal(name, err)
	}
}

// power starts one machine; both kinds have the same shape.
func (b *bench) power(image string) *service {
	flags := []string{
		"-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", strconv.Itoa(b.mem), "-smp", "2", "-nodefaults", "-no-user-config",
		"-display", "none", "-no-reboot", "-serial", "stdio", "-device", "virtio-rng-pci", "-kernel", b.s.kernel + "/vmlinuz", "-initrd", image,
		"-append", "console=ttyS0 edd=off panic=-1 rd.neednet=1 " + b.words, "-netdev", "tap,id=n0,ifname=" + b.tap + ",script=no,downscript=no", "-device", "virtio-net-pci,netdev=n0,romfile=",
		"-qmp", "unix:qmp.sock,server=on,wait=off",
	}
	for i, d := range b.disks {
		flags = append(flags, "-drive", fmt.Sprintf("if=none,id=d%d,format=raw,file=%s,snapshot=on", i, d), "-device", fmt.Sprintf("virtio-blk-pci,drive=d%d", i))
	}
	sock := filepath.Join(b.dir, "tpm.sock")
	os.Remove(sock)
	chip := b.urgent("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+b.dir+"/tpm", "--ctrl", "type=unixio,path="+sock, "--flags", "startup-clear", "--terminate")
	if err := chip.Start(); err != nil {
		b.t.Fatal(err)
	}

	b.t.Cleanup(func() { chip.Process.Kill(); chip.Wait() })
	for _, err := os.Stat(sock); err != nil; _, err = os.Stat(sock) {
		time.Sleep(5 * time.Millisecond)
	}
	if b.chip != nil {
		if err := slowChip(sock+".slow", sock, b.chip); err != nil {
			b.t.Fatal(err)
		}
		sock += ".slow"
	}
	flags = append(flags, "-chardev", "socket,id=t,path="+sock, "-tpmdev", "emulator,id=tpm0,chardev=t", "-device", "tpm-crb,tpmdev=tpm0")
	s, err := startService(b.dir, "console", b.urgent("qemu-system-x86_64", flags...), os.Environ())
	if err != nil {
		b.t.Fatal(err)
	}

	return s
}

// urgent is a command of the namespace in a session of its own that goes
// before the other work on this machine: sched(7), autogroup. Where the
// kernel has none, it runs as everything does.
func (b *bench) urgent(name string, args ...string) *exec.Cmd {
	script := `echo -15 >/proc/self/autogroup 2>/dev/null; exec "$@"`
	return b.lan.command("setsid", append([]string{"sh", "-c", script, name, name}, args...)...)
}

var (
	beganRE = regexp.MustCompile(`\[ *([0-9.]+)\] Run /init as init process`)
	rootRE  = regexp.MustCompile(`\[ *([0-9.]+)\] marker: the real root runs`)
	stepsRE = regexp.MustCompile(`latchkey: boot took ([^\r\n]*)`)
)

// boot boots and waits for the machine to switch itself off. It returns
// the seconds between two lines of its kernel log, and of CPU.
func (b *bench) boot(image string) (seconds, cpu float64) {
	s := b.power(image)
	if b.cable > 0 {
		b.link(false)
	}
	began, err := s.out.wait(beganRE, patience)
	if err != nil {
		b.t.Fatal(err)
	}
	b.began = time.Now()
	if b.cable > 0 {
		time.Sleep(b.cable) // it is what is measured
		b.link(true)
		b.began = time.Now()
	}

	root, err := s.out.wait(rootRE, patience)
	if err != nil {
		b.t.Fatal(err)
	}

	<-s.done
	if m := stepsRE.FindStringSubmatch(s.out.text.String()); m != nil {
		b.steps = m[1]
	}
	from, _ := strconv.ParseFloat(began[1], 64)
	to, _ := strconv.ParseFloat(root[1], 64)
	b.whole = to
	used := s.cmd.ProcessState
	return to - from, (used.UserTime() + used.SystemTime()).Seconds()
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

func load() string {
	text, _ := os.ReadFile("/proc/loadavg")
	return cmp.Or(strings.SplitN(string(text), " ", 2)[0], "?")
}
