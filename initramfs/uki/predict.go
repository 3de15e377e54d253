package uki

import (
	"errors"
	"fmt"
	"slices"
)

// Predict is what PCR 11 of the SHA-256 bank holds after a finished image was
// started and the words of the phases were measured. What the stub measures
// is told by the names that stand in its own sections, as in Stub.Measures.
func Predict(image []byte, phases ...string) (value [32]byte, err error) {
	f, err := parse(image)
	if err != nil {
		return value, fmt.Errorf("reading the image: %w", err)
	}
	sections, err := Read(image)
	if err != nil {
		return value, err
	}
	for i, s := range sections {
		if slices.ContainsFunc(sections[:i], func(o Section) bool { return o.Name == s.Name }) {
			return value, fmt.Errorf("reading the image: it has two sections %s: PCR 11 of an image with profiles depends on which is started", s.Name)
		}
	}

	stub := &Stub{f.clone()}
	stub.file.sections = slices.DeleteFunc(stub.file.sections, func(s section) bool {
		return s.name == ".pcrsig" || slices.Contains(measured, s.name)
	})
	if !slices.ContainsFunc(stub.file.sections, func(s section) bool { return s.name == ".sdmagic" }) {
		return value, errors.New("reading the image: it has no section .sdmagic: what its stub measures is not known")
	}
	return stub.PCR11(sections, phases...), nil
}
