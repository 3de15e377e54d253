package boottest

import (
	"os"

	"latchkey/internal/secret"
	"latchkey/unlock/source/keyfile"
)

// Stick is a USB stick with the label KEYS and a key in shop.key.
func Stick(key string) *Disk {
	b := make([]byte, 1<<20)
	copy(b[1024:], ext4[1024:2048])
	copy(b[1024+120:], "KEYS")
	return &Disk{Name: "sda", Bytes: b, KeyFile: "shop.key", Key: key}
}

// ReadKey implements worker.Disks.
func (w workerProcess) ReadKey(d keyfile.Device, f keyfile.File) (secret.Bytes, error) {
	if d.Path == "" {
		text, ok := w.machine.Keys[f.Path]
		if !ok {
			return secret.Bytes{}, os.ErrNotExist
		}
		return secret.Own([]byte(text)), w.alive()
	}
	if d.Opened {
		text, ok := w.machine.Keys[d.Path+":"+f.Path]
		if !ok {
			return secret.Bytes{}, os.ErrNotExist
		}
		return secret.Own([]byte(text)), w.alive()
	}
	for _, disk := range w.machine.disks() {
		if d.Path == "/dev/"+disk.Name && disk.KeyFile == f.Path {
			return secret.Own([]byte(disk.Key)), w.alive()
		}
	}
	return secret.Bytes{}, os.ErrNotExist
}
