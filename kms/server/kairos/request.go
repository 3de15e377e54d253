package kairos

import (
	"fmt"
	"net/http"
)

// maxName bounds each of a request's names, in bytes: a GPT label has 36
// characters, a UUID as many.
const maxName = 128

// readRequest reads the three headers that name the volume.
func readRequest(h http.Header) (Request, error) {
	var r Request
	for name, to := range map[string]*string{"Label": &r.Label, "Name": &r.Name, "Uuid": &r.UUID} {
		values := h.Values(name)
		if len(values) > 1 {
			return Request{}, fmt.Errorf("reading the request: header %s twice", name)
		}
		if len(values) == 0 {
			continue
		}
		if err := checkName(values[0]); err != nil {
			return Request{}, fmt.Errorf("reading header %s: %w", name, err)
		}
		*to = values[0]
	}
	return r, nil
}

// checkName: what goes into records and logs is short and printable.
func checkName(s string) error {
	if len(s) > maxName {
		return fmt.Errorf("it has %d bytes, more than %d", len(s), maxName)
	}
	for _, c := range []byte(s) {
		if c < 0x20 || c > 0x7e {
			return fmt.Errorf("it has byte %#x in it", c)
		}
	}
	return nil
}
