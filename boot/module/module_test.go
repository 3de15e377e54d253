package module_test

import (
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"latchkey/boot/module"
	"latchkey/internal/plan"
)

// insertions notes which modules were inserted, and fails for some.
type insertions struct {
	mu    sync.Mutex
	names []string
	bad   string
}

func (i *insertions) insert(path, params string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if path == i.bad {
		return errors.New("no such device")
	}
	i.names = append(i.names, strings.TrimRight(plan.ModuleName(path)+" "+params, " "))
	return nil
}

func load(t *testing.T, bad string, blocked []string, use func(*module.Loader)) []string {
	t.Helper()
	index := &plan.Modules{
		List: []plan.Module{
			{Path: "/ring.ko"}, {Path: "/virtio.ko", Deps: []int{0}}, {Path: "/net.ko", Deps: []int{0, 1}}, {Path: "/ecb.ko"}, {Path: "/xts.ko", Soft: []int{3}},
		},
		Aliases: []plan.Alias{{Pattern: "virtio:d1*", Module: 2}},
	}

	i := &insertions{bad: bad}
	l := module.New(index, blocked, i.insert, slog.New(slog.NewTextHandler(io.Discard, nil)))
	var wg sync.WaitGroup
	for range 4 { // as uevents do, several at once
		wg.Go(func() { use(l) })
	}

	wg.Wait()
	return i.names
}

func TestLoad(t *testing.T) {
	device := func(l *module.Loader) { l.Device("virtio:d1v2") }
	named := func(names ...string) func(*module.Loader) { return func(l *module.Loader) { l.Named(names...) } }
	for _, tt := range []struct {
		name    string
		bad     string
		blocked []string
		use     func(*module.Loader)
		want    string
	}{
		{"dependencies first, each once", "", nil, device, "ring virtio net"},
		{"nothing serves the device", "", nil, func(l *module.Loader) { l.Device("pci:x") }, ""},
		{"built in or unknown", "", nil, named("ext4"), ""},
		{"soft dependency", "", nil, named("xts"), "ecb xts"},
		{"soft dependency fails", "/ecb.ko", nil, named("xts"), "xts"},
		{"dependency fails", "/ring.ko", nil, device, ""},
		{"blocked", "", []string{"net"}, device, ""},
		{"dependency blocked", "", []string{"virtio"}, device, "ring"},
	} {
		got := load(t, tt.bad, tt.blocked, tt.use)
		if want := strings.Fields(tt.want); !slices.Equal(got, want) {
			t.Errorf("%s: inserted %v, want %v", tt.name, got, want)
		}
	}
}

func TestHold(t *testing.T) {
	index := &plan.Modules{
		List:    []plan.Module{{Path: "/kernel/drivers/scsi/scsi_mod.ko"}, {Path: "/kernel/drivers/ata/ahci.ko", Deps: []int{0}}, {Path: "/kernel/drivers/nvme/host/nvme.ko"}},
		Aliases: []plan.Alias{{Pattern: "pci:*", Module: 1}, {Pattern: "pci:*", Module: 2}},
	}
	i := &insertions{}
	l := module.New(index, nil, i.insert, slog.New(slog.NewTextHandler(io.Discard, nil)))
	l.Hold(false)
	l.Device("pci:v1")
	if want := []string{"nvme"}; !slices.Equal(i.names, want) {
		t.Errorf("while held, inserted %v, want %v", i.names, want)
	}

	l.Release()
	l.Device("pci:v1")
	if want := []string{"nvme", "scsi_mod", "ahci"}; !slices.Equal(i.names, want) {
		t.Errorf("after Release, inserted %v, want %v", i.names, want)
	}
}

// TestHoldTyped is faults/node.md H4: where a person may type, keyboards are
// not held back.
func TestHoldTyped(t *testing.T) {
	index := &plan.Modules{
		List:    []plan.Module{{Path: "/kernel/drivers/usb/host/xhci-pci.ko"}, {Path: "/kernel/drivers/hid/usbhid/usbhid.ko"}, {Path: "/kernel/drivers/ata/ahci.ko"}},
		Aliases: []plan.Alias{{Pattern: "pci:*", Module: 0}, {Pattern: "usb:*", Module: 1}, {Pattern: "ata:*", Module: 2}},
	}
	for typed, want := range map[bool][]string{true: {"xhci_pci", "usbhid"}, false: nil} {
		i := &insertions{}
		l := module.New(index, nil, i.insert, slog.New(slog.DiscardHandler))
		l.Hold(typed)
		l.Device("pci:x")
		l.Device("usb:x")
		l.Device("ata:x")
		if !slices.Equal(i.names, want) {
			t.Errorf("Hold(%v): inserted %q, want %q", typed, i.names, want)
		}
	}
}

// TestParams is faults/node.md M4: parameters of the image and of the
// command line reach the kernel.
func TestParams(t *testing.T) {
	index := &plan.Modules{List: []plan.Module{{Path: "/usb-storage.ko", Params: "delay_use=1"}, {Path: "/tpm_tis.ko"}}}
	index.Configure("quiet usb-storage.quirks=1234:5678:u tpm_tis.interrupts=0 tpm_tis.force nvme_core.x=1 \"tpm-tis.hid=a b\" rd.neednet=1")
	i := &insertions{}
	module.New(index, nil, i.insert, slog.New(slog.DiscardHandler)).Named("usb_storage")
	module.New(index, nil, i.insert, slog.New(slog.DiscardHandler)).Named("tpm-tis")
	want := []string{"usb_storage delay_use=1 quirks=1234:5678:u", `tpm_tis interrupts=0 force "hid=a b"`}
	if !slices.Equal(i.names, want) {
		t.Errorf("inserted %q, want %q", i.names, want)
	}
}
