package boottest

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"latchkey/boot/device"
	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
)

// UUIDs of the volumes that RootDisk and DataDisk make.
const (
	RootUUID = "5a0f5bd1-0f3f-4a77-9d3a-9c3b3a3e1c11"
	DataUUID = "6b1f6ce2-1a40-4b88-8e4b-8d4c4b4f2d22"
)

// A Disk is a block device.
type Disk struct {
	Name   string // "vda"
	Serial string
	WWID   string // "" if it has none
	ALUA   bool   // its ports have states
	Rank   int    // device.Block
	Bytes  []byte
	Reads  error         // what every read gives, nil for what is on the disk
	Slow   time.Duration // of each read
	Stuck  bool          // a read never comes back: the reader cannot be killed
	// StuckBeyond is from which byte on reads never come back, 0 for none. The
	// last 128 KiB, where superblocks of arrays are, do.
	StuckBeyond int64

	mu    sync.Mutex
	Syncs int

	// Partition and From are of a partition, which is Part of another disk: its
	// number, and where it begins, in bytes.
	Partition int
	Part      string
	From      int64
	Array     string // that the kernel runs with it
	Cached    bool   // bcache has it
	runs      bool   // and what is behind the cache is there

	KeyFile, Key string // of a stick: a file on it and what it holds
}

const volumeBytes = 4 << 20

// volumes are the formatted volumes, made once.
var volumes = map[string]func() []byte{
	RootUUID: sync.OnceValue(func() []byte { return format(RootUUID, Recovery) }),
	DataUUID: sync.OnceValue(func() []byte { return format(DataUUID, Recovery) }),
}

// RootDisk is vda with the root: keyslot 0 takes Key, keyslot 1 Recovery.
func RootDisk() *Disk {
	return &Disk{Name: "vda", Serial: "disk-a", Bytes: bytes.Clone(volumes[RootUUID]())}
}

// DataDisk is vdb with another volume of the same keys.
func DataDisk() *Disk {
	return &Disk{Name: "vdb", Serial: "disk-b", Bytes: bytes.Clone(volumes[DataUUID]())}
}

// VolumeDisk is another volume of the same keys.
func VolumeDisk(name, uuid string) *Disk {
	return &Disk{Name: name, Serial: "disk-" + name, Bytes: format(uuid, Recovery)}
}

// SetRecovery formats the disk with another recovery key.
func (d *Disk) SetRecovery(recovery string) {
	d.Bytes = format(DataUUID, recovery)
}

func format(uuid, recovery string) []byte {
	d := &Disk{Bytes: make([]byte, volumeBytes)}
	h, volume, err := luks2.Format(d, luks2.NewVolume{UUID: uuid, SizeBytes: volumeBytes, OffsetBytes: 2 << 20}, luks2.NewKey{Passphrase: secret.Own([]byte(Key)), Random: true})
	if err != nil {
		panic(err)
	}
	// It is no random key, but a slow KDF would only make the tests slow.
	if _, _, err := h.AddKey(d, volume, luks2.NewKey{Passphrase: secret.Own([]byte(recovery)), Slot: luks2.AnySlot, Random: true}); err != nil {
		panic(err)
	}
	return d.Bytes
}

// DamageCopy makes a header copy's checksum wrong: 0 is the first.
func (d *Disk) DamageCopy(n int) { d.Bytes[n*headerBytes+4200] ^= 0xff }

// DamageHeaders leaves no valid header copy.
func (d *Disk) DamageHeaders() { d.DamageCopy(0); d.DamageCopy(1) }

const headerBytes = 16 << 10

// MakeLUKS1 makes the header look like one of version 1.
func (d *Disk) MakeLUKS1() {
	copy(d.Bytes, "LUKS\xba\xbe\x00\x01")
	clear(d.Bytes[headerBytes : 2*headerBytes])
}

// AddOddKeyslot adds keyslot 2, one that the rules do not take: its area
// has a cipher that nobody here reads. The others stay good.
func (d *Disk) AddOddKeyslot() {
	h, err := luks2.Read(d, volumeBytes)
	if err != nil {
		panic(err)
	}
	volume, _, err := h.Unlock(background, d, luks2.Attempt{Passphrase: secret.Own([]byte(Key)), Slot: 0})
	if err != nil {
		panic(err)
	}
	if _, _, err := h.AddKey(d, volume, luks2.NewKey{Passphrase: secret.Own([]byte("this is the passphrase of an odd keyslot")), Slot: 2, Random: true}); err != nil {
		panic(err)
	}

	d.rewrite(func(text []byte) []byte {
		slot := bytes.Index(text, []byte(`"2":{`))
		i := slot + bytes.Index(text[slot:], []byte("aes-xts-plain64"))
		return slices.Concat(text[:i], []byte("aes-cbc-essiv:sha256"), text[i+len("aes-xts-plain64"):])
	})
}

// SetCipher gives the payload another cipher with a key of the same size.
func (d *Disk) SetCipher(name string) {
	d.rewrite(func(text []byte) []byte {
		return bytes.Replace(text, []byte(`"encryption":"aes-xts-plain64","sector_size"`), []byte(`"encryption":"`+name+`","sector_size"`), 1)
	})
}

// Detach makes the disk a payload alone and returns its header, in which the
// payload begins at the first byte.
func (d *Disk) Detach() (header string) {
	d.rewrite(func(text []byte) []byte {
		return bytes.Replace(text, []byte(`"offset":"2097152","size":"dynamic"`), []byte(`"offset":"0","size":"dynamic"`), 1)
	})
	header = string(bytes.TrimRight(d.Bytes[:2<<20], "\x00"))
	d.Bytes = bytes.Repeat([]byte("noise..."), volumeBytes/8)
	return header
}

// rewrite changes the JSON text of both header copies.
func (d *Disk) rewrite(change func(text []byte) []byte) {
	for at := 0; at < 2*headerBytes; at += headerBytes {
		raw := d.Bytes[at : at+headerBytes]
		text, _, _ := bytes.Cut(raw[4096:], []byte{0})
		changed := change(text)
		clear(raw[4096:])
		copy(raw[4096:], changed)
		clear(raw[448:512])
		sum := sha256.Sum256(raw)
		copy(raw[448:], sum[:])
	}
}

// ReadAt implements io.ReaderAt.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	if d.Reads != nil {
		return 0, d.Reads
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return bytes.NewReader(d.Bytes).ReadAt(p, off)
}

// WriteAt implements io.WriterAt.
func (d *Disk) WriteAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > int64(len(d.Bytes)) {
		return 0, io.ErrShortWrite
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return copy(d.Bytes[off:], p), nil
}

// Sync implements luks2.Storage.
func (d *Disk) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.Syncs++
	return nil
}

// Opens tells which keyslot a passphrase opens, -1 for none.
func (d *Disk) Opens(passphrase string) int {
	h, err := luks2.ReadAny(d, int64(len(d.Bytes)))
	if err != nil {
		panic(err)
	}
	key, slot, err := h.Unlock(background, d, luks2.Attempt{Passphrase: secret.Own([]byte(passphrase)), Slot: luks2.AnySlot})
	if err != nil {
		return -1
	}
	key.Wipe()
	return slot
}

func (d *Disk) block(minor int) device.Block {
	return device.Block{
		Name: d.Name, Path: "/dev/" + d.Name, Major: 254, Minor: uint32(minor), SizeBytes: int64(len(d.Bytes)),
		Disk: cmp.Or(d.Part, d.Name), Partition: d.Partition, FromBytes: d.From, Serial: d.Serial, Array: d.Array, Cached: d.Cached,
		WWID: d.WWID, ALUA: d.ALUA, Rank: d.Rank,
	}
}

// ext4 is what a mapping holds: the superblock of an ext4 file system.
var ext4 = func() []byte {
	b := make([]byte, 4096)
	binary.LittleEndian.PutUint16(b[1024+56:], 0xef53)
	binary.LittleEndian.PutUint32(b[1024+96:], 0x40) // extents
	return b
}()

// A plaintext is an open mapping.
type plaintext struct{ *bytes.Reader }

func (plaintext) WriteAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }
func (plaintext) Sync() error                        { return nil }
func (plaintext) Close() error                       { return nil }
