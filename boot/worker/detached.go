package worker

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"

	"latchkey/boot/codes"
	"latchkey/boot/device"
	"latchkey/internal/plan"
	"latchkey/unlock/source/keyfile"
)

// headers are those that are kept apart from their payloads, by volume. Only
// search.look, one at a time, changes them.
type headers struct {
	mu    sync.Mutex
	read  map[string][]byte        // by UUID
	asked map[keyfile.Device]error // devices without the header, and why
	slow  sync.Once                // the drivers of USB are asked for
}

// detached finds a volume whose header is not where its payload is.
func (s *search) detached(v plan.Volume, probes []probed) sighting {
	missing := func(format string, args ...any) sighting {
		return sighting{v, nil, codes.Fail("volume-missing", "volume %s (%s): %w", v.UUID, v.Name, fmt.Errorf(format, args...))}
	}
	data := s.payloads(v, probes)
	if len(data) == 0 {
		return missing("no device for its payload: %s", payloadName(v))
	}
	if len(data) > 1 {
		paths, err := several(v, data, fmt.Sprintf("are %s, the payload of %s", payloadName(v), v.Name))
		if err != nil {
			return sighting{v, nil, err}
		}
		data = paths
	}
	raw, err := s.header(v, probes)
	if err != nil {
		return missing("%s: %w", v.Header, err)
	}

	p := &data[0]
	p.header, p.err = accept(v).ReadDetached(bytes.NewReader(raw), int64(len(raw)), p.block.SizeBytes)
	d, err := newDisk(v, data...)
	if d != nil {
		d.header = raw
	}
	return sighting{v, d, err}
}

func payloadName(v plan.Volume) string {
	if v.Data != "" {
		return v.Data
	}
	return fmt.Sprintf("the disk with the serial %q", v.Serial)
}

// payloads are the devices that the plan means.
func (s *search) payloads(v plan.Volume, probes []probed) (fit []probed) {
	key, value, _ := strings.Cut(v.Data, "=")
	for _, p := range probes {
		named := v.Data == "" && p.block.Partition == 0 || v.Data != "" && s.carries(p, key, value)
		if named && (v.Serial == "" || p.block.Serial == v.Serial) {
			fit = append(fit, p)
		}
	}
	return fit
}

// header reads the header of a volume, once. Every device that may hold it is
// asked once; one that holds another does not end the search.
func (s *search) header(v plan.Volume, probes []probed) (raw []byte, err error) {
	s.headers.mu.Lock()
	defer s.headers.mu.Unlock()
	if raw := s.headers.read[v.UUID]; raw != nil {
		return raw, nil
	}

	devices := []keyfile.Device{{}} // the image
	file := keyfile.File{Path: v.HeaderInImage(), Max: plan.MaxHeaderBytes}
	err = errors.New("no such device is there")
	if v.Header.Device != "" {
		file.Path = v.Header.Path
		devices = s.carrying(v.Header.Device, probes)
	}
	if len(devices) == 0 {
		go s.headers.slow.Do(s.release)
	}
	for _, d := range devices {
		if was := s.headers.asked[d]; was != nil {
			err = was
			continue
		}
		if raw, err = s.readHeader(v, d, file); err == nil {
			s.headers.read[v.UUID] = raw
			return raw, nil
		}
		s.headers.asked[d] = err
	}
	return nil, err
}

// readHeader reads the header from one device, and tells whose it is.
func (s *search) readHeader(v plan.Volume, d keyfile.Device, f keyfile.File) ([]byte, error) {
	key, err := s.readKey(d, f)
	if err != nil {
		return nil, err
	}
	raw := key.Reveal()
	super, ok := device.Probe(bytes.NewReader(raw))
	switch {
	case !ok || super.Type != luksType:
		return nil, errors.New("it is no LUKS header")
	case !strings.EqualFold(super.UUID, v.UUID):
		return nil, fmt.Errorf("it is the header of volume %.36q", super.UUID)
	}
	return raw, nil
}

// areas is where the keyslots of a disk are read.
func (d *disk) areas(open func(path string, write bool) (File, error)) (File, error) {
	if d.header != nil {
		return memoryFile{bytes.NewReader(d.header)}, nil
	}
	return open(d.Device, false)
}

// A memoryFile is a header that was read.
type memoryFile struct{ *bytes.Reader }

func (memoryFile) WriteAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }
func (memoryFile) Sync() error                        { return nil }
func (memoryFile) Close() error                       { return nil }
