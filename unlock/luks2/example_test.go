package luks2_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"latchkey/internal/secret"
	"latchkey/unlock/luks2"
)

// A volume is made in a file, read as an init reads it, opened, and given
// one more key.
func Example() {
	f, err := os.CreateTemp("", "volume")
	if err != nil {
		log.Fatal(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	const size = 4 << 20
	if err := f.Truncate(size); err != nil {
		log.Fatal(err)
	}

	key := luks2.NewKey{Passphrase: secret.Random(32), Random: true}
	_, _, err = luks2.Format(f, luks2.NewVolume{Label: "data", SizeBytes: size, OffsetBytes: 2 << 20}, key)
	if err != nil {
		log.Fatal(err)
	}

	h, err := luks2.Read(f, size)
	if err != nil {
		log.Fatal(err) // a *luks2.Rejected names the rule that the header breaks
	}
	volume, slot, err := h.Unlock(context.Background(), f, luks2.Attempt{Passphrase: key.Passphrase, Slot: luks2.AnySlot})
	if err != nil {
		log.Fatal(err)
	}
	defer volume.Wipe()
	fmt.Printf("keyslot %d opens %q: %d bytes of payload\n", slot, h.Label(), h.Segment().SizeBytes)

	recovery := luks2.NewKey{Passphrase: secret.Own([]byte("typed by a person")), Slot: luks2.AnySlot, MemoryKiB: 64}
	h, slot, err = h.AddKey(f, volume, recovery)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("keyslot %d of %d is new: %s\n", slot, len(h.Keyslots()), h.Keyslots()[slot].KDF.Type)
	// Output:
	// keyslot 0 opens "data": 2097152 bytes of payload
	// keyslot 1 of 2 is new: argon2id
}

// Headers of version 1 are read only where somebody asks for them, and a
// keyslot that breaks a rule is skipped with the reason.
func ExampleHeader_Skipped() {
	f, err := os.Open("/dev/null")
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	h, err := luks2.Read(f, 0)
	if err == luks2.ErrLUKS1 {
		h, err = luks2.ReadLUKS1(f, 0)
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, k := range h.Skipped() {
		fmt.Printf("keyslot %d: %v\n", k.ID, k.Reason)
	}
	// Output: not-luks: no LUKS header found
}
