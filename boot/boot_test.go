package boot_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/boot"
	"latchkey/boot/wire"
	"latchkey/internal/golden"
	"latchkey/internal/meminfo"
	"latchkey/internal/pcr"
	"latchkey/internal/plan"
)

const rootUUID = "11111111-2222-3333-4444-555555555555"

func testPlan(change func(*plan.Plan)) []byte {
	p := &plan.Plan{
		Version: plan.Version,
		Trust:   plan.Trust{KMS: []plan.PublicKey{"lk1:IACMx2/hiNfc+4150nkCg2G5sY+MZdXNO3jt6GLQ+T0="}},
		Find:    plan.Find{Services: []string{"_latchkey._tcp"}},
		Volumes: []plan.Volume{{UUID: rootUUID, Name: "root", Sources: []string{"kms"}}},
		OnFail:  plan.OnFail{Action: "reboot", After: time.Minute},
	}
	if change != nil {
		change(p)
	}

	file, err := p.Encode()
	if err != nil {
		panic(err)
	}
	return file
}

// A recorder is a System that writes down what PID 1 asks of it.
type recorder struct {
	mu       sync.Mutex // of log: PID 1 loads modules in a goroutine of its own
	files    map[string][]byte
	log      []string
	mappings map[string]boot.Mapping
	start    time.Time
	init     string           // what /sbin/init resolves to; "" is absent
	mountErr map[string]error // by target
	worker   func(incarnation int, c *child)
	latch    func(incarnation int, c *child)
	ended    chan struct{}
	extended [24]int // how often each PCR was extended
	hasDog   bool
	dog      dog
}

func newRecorder(p []byte) *recorder {
	return &recorder{
		files:    map[string][]byte{wire.PlanFile: p, wire.CmdlineAt: []byte("quiet\n"), "/proc/sys/kernel/random/boot_id": []byte("0f0e0d0c-0b0a-0908-0706-050403020100\n")},
		mappings: map[string]boot.Mapping{}, start: time.Now(), init: "/usr/lib/systemd/systemd",
		mountErr: map[string]error{}, worker: goodWorker, ended: make(chan struct{}),
	}
}

// unpackedPartly takes the end of the image away, as the kernel does when the
// tmpfs of the initramfs is full.
func (r *recorder) unpackedPartly() {
	r.files[wire.ImageSize] = []byte("102760448\n")
	r.files[meminfo.File] = []byte("MemTotal:         262144 kB\nMemFree:           10000 kB\n")
}

func (r *recorder) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, fmt.Sprintf(format, args...))
}

func (r *recorder) Mount(m boot.Mount) error { r.note("%s", m); return r.mountErr[m.Target] }
func (r *recorder) Unmount(target string) error {
	r.note("unmount %s", target)
	return nil
}
func (r *recorder) Mkdir(path string) error { r.note("mkdir %s", path); return nil }
func (r *recorder) ReadFile(path string) ([]byte, error) {
	if b, ok := r.files[path]; ok {
		return b, nil
	}
	return nil, os.ErrNotExist
}

func (r *recorder) List(string) ([]string, error) { return nil, os.ErrNotExist }

func (r *recorder) WriteFile(path string, data []byte, _ os.FileMode) error {
	r.note("write %s %q", path, strings.SplitN(string(data), "\n", 2)[0])
	return nil
}

func (r *recorder) Load(names, blocked []string) error {
	r.note("load %q but %q", names, blocked)
	return nil
}

func (r *recorder) Mappings() (map[string]boot.Mapping, error) { return maps.Clone(r.mappings), nil }

func (r *recorder) RemoveMapping(name string) error {
	r.note("remove mapping %s", name)
	delete(r.mappings, name)
	return nil
}

func (r *recorder) InitIn(root, path string) (string, error) {
	if r.init == "" {
		return "", errors.New("no " + path)
	}
	return r.init, nil
}
func (r *recorder) Timestamp(_, monotonic time.Duration) (int, error) { return 7, nil }
func (r *recorder) SwitchRoot(root, init string, args []string) error {
	r.note("switch root to %s, run %s %q", root, init, args)
	close(r.ended)
	runtime.Goexit() // the real one does not come back either
	return nil
}

func (r *recorder) Reboot(action string) error {
	r.note("reboot: %s", action)
	close(r.ended)
	runtime.Goexit()
	return nil
}

// Watchdog is one that counts how often it is petted.
func (r *recorder) Watchdog() (io.WriteCloser, error) {
	if !r.hasDog {
		return nil, os.ErrNotExist
	}
	return &r.dog, nil
}

type dog struct {
	pets  int
	bites *time.Timer // runs out 30 s after the last pet
	left  bool        // closed as it was found
}

func (d *dog) Write(p []byte) (int, error) {
	d.pets++
	d.bites.Reset(30 * time.Second)
	return len(p), nil
}

func (d *dog) Close() error {
	d.left = true
	d.bites.Stop()
	return nil
}

func (r *recorder) Now() time.Duration { return time.Second + time.Since(r.start) }
func (r *recorder) Log(level boot.Level, text string) {
	r.note("log %d: %s", level, text)
}

func (r *recorder) Start(role string, incarnation int) (boot.Child, error) {
	r.note("start %s %d", role, incarnation)
	c := &child{records: make(chan wire.Record, 16), orders: make(chan wire.Record, 16), killed: make(chan struct{}), sys: r}
	run := r.worker
	if role == "latch" {
		run = r.latch
		if run == nil {
			run = goodLatch
		}
	}
	go func() { run(incarnation, c); close(c.records) }()
	return c, nil
}

type child struct {
	records, orders chan wire.Record
	killed          chan struct{}
	isKilled        bool
	sys             *recorder
}

func (c *child) Records() <-chan wire.Record { return c.records }
func (c *child) Send(r wire.Record) error    { c.orders <- r; return nil }
func (c *child) Kill() {
	if !c.isKilled {
		c.isKilled = true
		close(c.killed)
	}
}

// goodWorker opens the root once the ciphers are loaded and the TPM may
// be used, in whatever order it hears of that.
func goodWorker(_ int, c *child) {
	c.records <- wire.Record{Kind: wire.KindWantCiphers}
	for range 2 {
		select {
		case <-c.orders:
		case <-c.killed:
			return
		}
	}
	c.sys.mappings["root"] = boot.Mapping{UUID: "CRYPT-LUKS2-" + strings.ReplaceAll(rootUUID, "-", "") + "-root", Device: "253:0"}
	c.records <- wire.Record{Kind: wire.KindOpened, Name: "root", Slot: 1, Digests: pcr.Measure([]byte("volume"))}
	c.records <- wire.Record{Kind: wire.KindRoot, Name: "root", Text: "ext4"}
	c.records <- wire.Record{Kind: wire.KindDone}
}

// goodLatch carries out orders on PCRs that the recorder keeps.
func goodLatch(incarnation int, c *child) { stoppingLatch(c, "", 0) }

// stoppingLatch dies at a point of the n-th extend, from 1; 0 is never.
func stoppingLatch(c *child, point string, n int) {
	var resume *wire.Record
	for {
		var order wire.Record
		select {
		case order = <-c.orders:
		case <-c.killed:
			return
		}

		if order.Kind == wire.KindResume {
			resume = &order
			continue
		}

		r := c.sys
		old := r.pcr(order.PCR)
		next := extend(old, order.Digests.SHA256)
		if resume != nil && old == resume.New {
			c.records <- wire.Record{Kind: wire.KindExtended, PCR: order.PCR, New: old, Text: "sha256"}
			resume = nil
			continue
		}

		if resume == nil {
			c.records <- wire.Record{Kind: wire.KindExtending, PCR: order.PCR, Old: old, New: next}
			select {
			case <-c.orders: // go
			case <-c.killed:
				return
			}
		}

		resume = nil
		if n == 1 && point == "before" {
			return
		}

		r.setPCR(order.PCR, next)
		if n == 1 && point == "after" {
			return
		}

		n--
		c.records <- wire.Record{Kind: wire.KindExtended, PCR: order.PCR, New: next, Text: "sha256"}
	}
}

func extend(old, digest [32]byte) [32]byte { return sha256.Sum256(append(old[:], digest[:]...)) }

func (r *recorder) pcr(n uint8) [32]byte {
	return [32]byte(append(r.files[fmt.Sprint("pcr", n)], make([]byte, 32)...))
}

func (r *recorder) setPCR(n uint8, v [32]byte) {
	r.files[fmt.Sprint("pcr", n)] = v[:]
	r.extended[n]++
}

// run boots until the pivot or the reboot and returns what was recorded.
func (r *recorder) run(t *testing.T) string {
	t.Helper()
	go boot.Run(r)
	select {
	case <-r.ended:
	case <-time.After(time.Hour):
		t.Fatalf("no end after an hour:\n%s", strings.Join(r.log, "\n"))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.log, "\n") + "\n"
}

func TestGolden(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*recorder)
	}{
		{"good", nil},
		{"no-init", func(r *recorder) { r.init = "" }},
		{"busybox", func(r *recorder) { r.init = "/bin/busybox" }},
		{"root-unusable", func(r *recorder) { r.mountErr["/sysroot"] = errors.New("wrong fs type") }},
		{"foreign-mapping", func(r *recorder) {
			r.worker = func(n int, c *child) {
				goodWorker(n, c)
				c.sys.mappings["root"] = boot.Mapping{UUID: "CRYPT-PLAIN-x", Device: "253:0"}
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got string
			synctest.Test(t, func(t *testing.T) {
				r := newRecorder(testPlan(nil))
				if tt.change != nil {
					tt.change(r)
				}
				got = r.run(t)
			})
			golden.Check(t, tt.name, got)
		})
	}
}

// TestDeaths has the worker and the latch die in every way that matters;
// each boot still ends with the pivot and each PCR extended the right
// number of times.
func TestDeaths(t *testing.T) {
	dying := func(times int, how func(*child)) func(int, *child) {
		return func(n int, c *child) {
			if n < times {
				how(c)
				return
			}
			goodWorker(n, c)
		}
	}
	latchDies := func(point string, n int) func(int, *child) {
		return func(incarnation int, c *child) {
			if incarnation > 0 {
				n = 0
			}
			stoppingLatch(c, point, n)
		}
	}
	for _, tt := range []struct {
		name   string
		worker func(int, *child)
		latch  func(int, *child)
	}{
		{"worker dies at once, five times", dying(5, func(*child) {}), nil},
		{"worker dies with the root open", dying(1, func(c *child) {
			c.sys.mappings["root"] = boot.Mapping{}
			c.records <- wire.Record{Kind: wire.KindOpened, Name: "root"}
		}), nil},
		{"worker hangs", dying(1, func(c *child) { <-c.killed }), nil},
		{"worker claims a volume that is not in the plan", dying(1, func(c *child) {
			c.records <- wire.Record{Kind: wire.KindOpened, Name: "evil"}
			<-c.killed
		}), nil},
		{"worker says done too early", dying(1, func(c *child) { c.records <- wire.Record{Kind: wire.KindDone}; <-c.killed }), nil},
		{"worker fails with a code that is retried", dying(1, func(c *child) { c.records <- wire.Record{Kind: wire.KindFailed, Code: "timeout"} }), nil},
		{"latch dies before the first extend", goodWorker, latchDies("before", 1)},
		{"latch dies after the first extend", goodWorker, latchDies("after", 1)},
		{"latch dies before the second extend", goodWorker, latchDies("before", 2)},
		{"latch dies after the second extend", goodWorker, latchDies("after", 2)},
		{"latch dies between its two last extends", goodWorker, latchDies("before", 3)},
		{"latch dies after the last extend", goodWorker, latchDies("after", 3)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRecorder(testPlan(nil))
				r.worker, r.latch = tt.worker, tt.latch
				got := r.run(t)
				if !strings.Contains(got, "switch root to /sysroot") {
					t.Errorf("the boot did not end with the pivot:\n%s", got)
				}
				if r.extended[11] != 2 || r.extended[15] != 1 {
					t.Errorf("PCR 11 was extended %d times and PCR 15 %d times, want 2 and 1", r.extended[11], r.extended[15])
				}
			})
		})
	}
}

// TestFinal has failures that must not be retried: each ends in Rescue
// with its code, mappings closed, the TPM capped, and the plan's action.
func TestFinal(t *testing.T) {
	failing := func(code string) func(int, *child) {
		return func(_ int, c *child) {
			<-c.orders
			c.sys.mappings["root"] = boot.Mapping{}
			c.records <- wire.Record{Kind: wire.KindFailed, Code: code, Text: "because"}
			<-c.killed
		}
	}
	for _, tt := range []struct {
		name   string
		plan   func(*plan.Plan)
		change func(*recorder)
		want   []string
	}{
		{
			"locked", nil, func(r *recorder) { r.worker = failing("volume-locked") },
			[]string{"volume-locked: because", "do not trust this disk", "remove mapping root", "reboot in 1m0s", "reboot: reboot"},
		},
		{
			"poweroff", func(p *plan.Plan) { p.OnFail.Action = "poweroff" }, func(r *recorder) { r.worker = failing("volume-missing") },
			[]string{"volume-missing: because", "reboot: poweroff"},
		},
		{"kexec", nil, func(r *recorder) {
			r.latch = func(_ int, c *child) {
				<-c.orders
				c.records <- wire.Record{Kind: wire.KindFailed, Code: "pcr15-used", Text: "PCR 15 is not zero"}
				<-c.killed
			}
		}, []string{"pcr15-used", "reboot in 0s", "reboot: reboot"}},
		{"no TPM", nil, func(r *recorder) {
			r.latch = func(n int, c *child) {
				if n > 0 {
					r.note("waited for it again")
				}
				<-c.orders
				c.records <- wire.Record{Kind: wire.KindWaiting, Code: "tpm-missing", Text: "none yet"}
				c.records <- wire.Record{Kind: wire.KindFailed, Code: "tpm-missing", Text: "no /dev/tpmrm0"}
				<-c.killed
			}
		}, []string{"tpm-missing: none yet", "latch: tpm-missing: no /dev/tpmrm0", "reboot: reboot"}},
		{"worker dies for ever", nil, func(r *recorder) { r.worker = func(int, *child) {} }, []string{"worker-dies", "reboot: reboot"}},
		{"plan damaged", nil, func(r *recorder) { r.files[wire.PlanFile] = []byte("{}") }, []string{"plan-invalid", "latchkey image build", "reboot: reboot"}},
		{"image unpacked without the plan", nil, func(r *recorder) {
			delete(r.files, wire.PlanFile)
			r.unpackedPartly()
		}, []string{"image-truncated", "the image of 98 MB: the machine has 256 MB of memory and needs about 284 MB", "modules.set: host", "reboot: reboot"}},
		{"image unpacked without the driver", nil, func(r *recorder) {
			r.unpackedPartly()
			r.worker = failing("volume-missing")
		}, []string{"going on without the rest", "volume-missing: because", "image: image-truncated", "modules.set: host", "reboot: reboot"}},
		{"latch extends unasked", nil, func(r *recorder) {
			r.latch = func(_ int, c *child) {
				c.records <- wire.Record{Kind: wire.KindExtending, PCR: 7}
				<-c.killed
			}
		}, []string{"nobody ordered", "reboot: reboot"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRecorder(testPlan(tt.plan))
				tt.change(r)
				got := r.run(t)
				for _, want := range tt.want {
					if !strings.Contains(got, want) {
						t.Errorf("the log lacks %q:\n%s", want, got)
					}
				}
				if strings.Contains(got, "waited for it again") {
					t.Errorf("a TPM that is not there was looked for twice:\n%s", got)
				}
				if strings.Contains(got, "switch root") || len(r.mappings) > 0 {
					t.Errorf("pivoted, or left mappings %v:\n%s", r.mappings, got)
				}
			})
		})
	}
}

// A worker that does not end when all is open gets its grace and no more.
func TestWorkerThatStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(testPlan(nil))
		r.worker = func(n int, c *child) {
			goodWorker(n, c)
			<-c.killed
		}
		got := r.run(t)
		if took := time.Since(r.start); took < time.Second || took > 5*time.Second || strings.Contains(got, "not gone") {
			t.Errorf("the boot took %s, want two seconds and no complaint:\n%s", took, got)
		}
	})
}
