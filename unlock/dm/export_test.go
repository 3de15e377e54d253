package dm

// Encode is what the kernel would receive to load a table.
func Encode(name string, key KeyRef, table string, sectors uint64) []byte {
	return request{name: name, uuid: key.mappingUUID(name), table: table, sectors: sectors, event: primarySource}.encode(0)
}

var (
	ParseNames = parseNames
	WithKey    = withKey
)
