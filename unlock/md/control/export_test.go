package control

// RunWith is Run in a folder, whose files are written by write.
func RunWith(root string, write func(path, text string) error, s Start) (string, error) {
	return sysfs{root, write}.run(s)
}

var Write = write

// StopWith is Stop likewise.
func StopWith(root string, write func(path, text string) error, name string) error {
	return sysfs{root, write}.stop(name)
}
