package dm

import (
	"fmt"

	"latchkey/unlock/dm/control"
)

// Encode is what the kernel would receive to load a table.
func Encode(name string, key KeyRef, table string, sectors uint64) []byte {
	return control.Request{Name: name, UUID: key.mappingUUID(name), Table: []control.Target{{Sectors: sectors, Type: "crypt", Params: table}}, Event: control.PrimarySource}.Encode()
}

// WithKey opens withKey to the tests.
var WithKey = withKey

// PathsTable and PartTable are what the kernel would receive.
func PathsTable(p Paths) string { return fmt.Sprint(p.target()) }

// PartTable is the table of a partition.
func PartTable(p Part, disk Number) string { return fmt.Sprint(p.target(disk)) }
