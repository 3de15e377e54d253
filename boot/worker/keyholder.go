package worker

import (
	"latchkey/internal/secret"
	"latchkey/unlock"
)

// A Keyholder is a System whose Map maps nothing, because others open the
// volumes: it is told what opens them. There is no root to choose then. The
// agent in others' early boot is one.
type Keyholder interface {
	// Hold copies a passphrase that a keyslot of the volume has taken. A later
	// one, after a rotation, replaces it.
	Hold(v *unlock.Volume, passphrase secret.Bytes)
}

// hold tells a Keyholder what opens a volume.
func (w *worker) hold(d *disk, passphrase secret.Bytes) {
	if k, ok := w.sys.(Keyholder); ok {
		k.Hold(&d.Volume, passphrase)
	}
}
