package luks2_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
	"latchkey/unlock/luks2/luks2test"
)

// disk is Storage in memory.
type disk = luks2test.Disk

const (
	hdrSize   = 16 << 10
	jsonStart = 4096
	testUUID  = "5a0f5bd1-0f3f-4a77-9d3a-9c3b3a3e1c11"
)

// randomKey stands for 256 random bits; tests want the same each time.
var randomKey = strings.Repeat("k", 32)

// format makes a volume of 2 MiB with a payload at 1 MiB and the key
// randomKey in keyslot 0.
func format(t testing.TB) (*luks2.Header, luks2.VolumeKey, disk) {
	t.Helper()
	d := make(disk, 2<<20)
	h, key, err := luks2.Format(d, luks2.NewVolume{UUID: testUUID, SizeBytes: int64(len(d)), OffsetBytes: 1 << 20}, random(randomKey))
	if err != nil {
		t.Fatal(err)
	}
	return h, key, d
}

func random(pass string) luks2.NewKey {
	return luks2.NewKey{Passphrase: secret.Own([]byte(pass)), Slot: luks2.AnySlot, Random: true}
}

func read(d disk) (*luks2.Header, error) { return luks2.Read(d, int64(len(d))) }

// code is the rule that err names, "" for none.
func code(err error) string {
	var c interface{ Code() string }
	if errors.As(err, &c) {
		return c.Code()
	}
	return ""
}

// rewrite changes the bytes of the header copy at offset and gives it a
// valid checksum again.
func rewrite(d disk, offset int, change func(raw []byte)) {
	raw := d[offset : offset+hdrSize]
	change(raw)
	clear(raw[448:512])
	sum := sha256.Sum256(raw)
	copy(raw[448:], sum[:])
}

// rewriteJSON changes the JSON text of both copies.
func rewriteJSON(t testing.TB, d disk, change func(string) string) {
	t.Helper()
	for _, offset := range []int{0, hdrSize} {
		rewrite(d, offset, func(raw []byte) {
			area := raw[jsonStart:]
			text, _, _ := bytes.Cut(area, []byte{0})
			changed := change(string(text))
			if changed == string(text) {
				t.Fatal("the test changes nothing")
			}
			clear(area)
			copy(area, changed)
		})
	}
}

func setSeqID(d disk, offset int, seqID uint64) {
	rewrite(d, offset, func(raw []byte) { binary.BigEndian.PutUint64(raw[16:], seqID) })
}

func damage(d disk, offset int) { d[offset+jsonStart+7] ^= 1 }

func clone(d disk) disk { return slices.Clone(d) }
