package eventlog

import (
	"encoding/hex"
	"maps"
	"slices"
)

// A WellKnown certificate has a short name for configurations.
type WellKnown struct {
	Short  string
	Name   string // common name of its subject
	SHA256 Digest
	Year   int // of the generation that it belongs to
}

// wellKnown are the certificates that firmware ships with: those of
// github.com/microsoft/secureboot_objects, folder PreSignedObjects.
var wellKnown = byDigest(
	WellKnown{"microsoft-kek-2011", "Microsoft Corporation KEK CA 2011", hexDigest("a1117f516a32cefcba3f2d1ace10a87972fd6bbe8fe0d0b996e09e65d802a503"), 2011},
	WellKnown{"microsoft-kek-2023", "Microsoft Corporation KEK 2K CA 2023", hexDigest("3cd3f0309edae228767a976dd40d9f4affc4fbd5218f2e8cc3c9dd97e8ac6f9d"), 2023},
	WellKnown{"microsoft-windows-2011", "Microsoft Windows Production PCA 2011", hexDigest("e8e95f0733a55e8bad7be0a1413ee23c51fcea64b3c8fa6a786935fddcc71961"), 2011},
	WellKnown{"microsoft-windows-2023", "Windows UEFI CA 2023", hexDigest("076f1fea90ac29155ebf77c17682f75f1fdd1be196da302dc8461e350a9ae330"), 2023},
	WellKnown{"microsoft-uefi-2011", "Microsoft Corporation UEFI CA 2011", hexDigest("48e99b991f57fc52f76149599bff0a58c47154229b9f8d603ac40d3500248507"), 2011},
	WellKnown{"microsoft-uefi-2023", "Microsoft UEFI CA 2023", hexDigest("f6124e34125bee3fe6d79a574eaa7b91c0e7bd9d929c1a321178efd611dad901"), 2023},
	WellKnown{"microsoft-option-rom-2023", "Microsoft Option ROM UEFI CA 2023", hexDigest("e5be3e64c6e66a281457ecdece0d6d0787577aad2a3a0144262c10c14ba8d8f1"), 2023},
	WellKnown{"microsoft-oem-pk", "Windows OEM Devices PK", hexDigest("2f569e8edaf9657dc4951c29598725255c7f821472db71374211fe44d082546f"), 2011},
)

func byDigest(all ...WellKnown) map[Digest]WellKnown {
	m := map[Digest]WellKnown{}
	for _, w := range all {
		m[w.SHA256] = w
	}
	return m
}

func hexDigest(s string) Digest {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err) // a constant above
	}
	return Digest(b)
}

// Known finds a well-known certificate by its digest.
func Known(d Digest) (WellKnown, bool) {
	w, ok := wellKnown[d]
	return w, ok
}

// Named finds a well-known certificate by its short name.
func Named(short string) (WellKnown, bool) {
	for _, w := range wellKnown {
		if w.Short == short {
			return w, true
		}
	}
	return WellKnown{}, false
}

// Names are the short names of all well-known certificates.
func Names() (names []string) {
	for w := range maps.Values(wellKnown) {
		names = append(names, w.Short)
	}
	slices.Sort(names)
	return names
}
