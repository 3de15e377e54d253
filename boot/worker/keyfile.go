package worker

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"latchkey/internal/plan"
	"latchkey/internal/secret"
	"latchkey/unlock/source/keyfile"
)

// keyFile is the source of one file with a key.
func (w *worker) keyFile(f plan.KeyFile) *keyfile.KeyFile {
	k := &keyfile.KeyFile{Name: f.String(), File: keyfile.File{Path: f.Path, Offset: f.Offset, Size: f.Size}, Wait: w.plan.KeyFileWait(f), Read: w.readKey, Log: w.log}
	if f.Device == "" {
		k.File = keyfile.File{Path: f.InImage()} // offset and size were the build's
		return k
	}
	var once sync.Once
	k.Devices = func(ctx context.Context) (fit []keyfile.Device) {
		fit = w.carrying(ctx, f.Device)
		if len(fit) == 0 {
			go once.Do(w.loader.Release) // USB and card readers are slow, and nobody else may need them
		}
		return fit
	}
	return k
}

// readKey reads a key when the driver of its file system is there.
func (w *worker) readKey(d keyfile.Device, f keyfile.File) (secret.Bytes, error) {
	w.loader.Named(keyfile.Drivers(d.FSType)...)
	return w.sys.ReadKey(d, f)
}

// carrying lists the devices that carry a tag now: LABEL=, UUID=, PARTUUID=
// or PARTLABEL=.
func (w *worker) carrying(ctx context.Context, tag string) (fit []keyfile.Device) {
	blocks, err := w.sys.Blocks()
	if err != nil {
		return nil
	}
	probes, _ := w.search.probe(ctx, blocks)
	return w.search.carrying(tag, probes)
}

func (s *search) carrying(tag string, probes []probed) (fit []keyfile.Device) {
	key, value, _ := strings.Cut(tag, "=")
	value = strings.Trim(value, `"`)
	for _, p := range probes {
		if s.carries(p, key, value) {
			fit = append(fit, keyfile.Device{Path: p.block.Path, FSType: p.super.Type, ID: fmt.Sprint(p.block, p.super)})
		}
	}
	return fit
}

func (w *worker) carries(p probed, key, value string) bool {
	switch key {
	case "LABEL":
		return p.super.Label == value
	case "UUID":
		return strings.EqualFold(p.super.UUID, value)
	case "PARTLABEL":
		return p.block.PartName == value
	case "PARTUUID":
		return p.block.Partition > 0 && strings.EqualFold(w.partUUID(p.block), value)
	}
	return false
}
