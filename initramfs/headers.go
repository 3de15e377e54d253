package initramfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"latchkey/internal/plan"
)

// A HeaderConfig is where the header of a volume is.
type HeaderConfig struct {
	Device string `yaml:"device"`
	Path   string `yaml:"path"`
}

// addHeaders puts the headers that the image holds into it.
func addHeaders(a *archive, c *Config, p *plan.Plan) error {
	for _, v := range p.Volumes {
		if v.Header == nil || v.Header.Device != "" {
			continue
		}
		header, err := readHeader(v, c.at(v.Header.Path))
		if err != nil {
			return fmt.Errorf("reading %s of volume %s: %w", v.Header, v.Name, err)
		}
		a.file(v.HeaderInImage()[1:], header, 0o400)
	}
	return nil
}

// readHeader reads the header of LUKS2, which cryptsetup makes as a file of
// 16 MiB, without the zeros at its end.
func readHeader(v plan.Volume, path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, errors.New("it is no regular file"))
	}
	all, err := io.ReadAll(io.LimitReader(f, plan.MaxHeaderBytes+1))
	if err != nil {
		return nil, err
	}

	uuid, _, _ := bytes.Cut(all[min(168, len(all)):min(208, len(all))], []byte{0}) // struct luks2_hdr_disk in cryptsetup's lib/luks2/luks2.h
	switch {
	case len(all) > plan.MaxHeaderBytes:
		return nil, fmt.Errorf("it has more than %d bytes", plan.MaxHeaderBytes)
	case len(all) < 4096 || !bytes.HasPrefix(all, []byte("LUKS\xba\xbe")) || binary.BigEndian.Uint16(all[6:]) != 2:
		return nil, errors.New("it is no header of LUKS2 (cryptsetup luksFormat --header FILE makes one)")
	case !strings.EqualFold(string(uuid), v.UUID):
		return nil, fmt.Errorf("it is the header of volume %.36q", uuid)
	}
	const block = 4096 // bytes: what a header is made of
	used := len(bytes.TrimRight(all, "\x00"))
	return all[:min(len(all), (used+block-1)/block*block)], nil
}
