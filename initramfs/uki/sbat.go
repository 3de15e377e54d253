package uki

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// SBAT is the section .sbat: the stub's own lines and more of the image's
// maker, by which shim can revoke old images without a hash of each
// (shim's SBAT.md: component, generation, vendor, package, version, URL).
func (s *Stub) SBAT(more []byte) (Section, error) {
	lines := bytes.TrimRight(s.own(".sbat"), "\x00\n")
	if len(lines) == 0 {
		return Section{}, errors.New("adding SBAT lines: the stub has no section .sbat to add them to")
	}

	lines = append(bytes.Clone(lines), '\n')
	added := 0
	for line := range strings.Lines(string(more)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "sbat,") {
			continue // the stub's has the header
		}
		fields := strings.Split(line, ",")
		if len(fields) != 6 || fields[0] == "" {
			return Section{}, fmt.Errorf("adding SBAT lines: %q has %d fields, want 6: component,generation,vendor,package,version,URL", line, len(fields))
		}
		if n, err := strconv.ParseUint(fields[1], 10, 16); err != nil || n == 0 {
			return Section{}, fmt.Errorf("adding SBAT lines: %q: the generation is %q, want a number from 1 on", line, fields[1])
		}
		lines = append(lines, line+"\n"...)
		added++
	}

	if added == 0 {
		return Section{}, errors.New("adding SBAT lines: there are none")
	}
	return Section{".sbat", lines}, nil
}
