package plan

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// MaxHeaderBytes is the largest header that is read from elsewhere: what
// cryptsetup makes (LUKS2_DEFAULT_HDR_SIZE in lib/luks2/luks2.h) twice over.
const MaxHeaderBytes = 32 << 20

// A HeaderFile is where the LUKS header of a volume is that is kept apart
// from its payload: in the image, or on a device that somebody plugs in.
type HeaderFile struct {
	// Device is LABEL=, UUID=, PARTUUID= or PARTLABEL= of the file system
	// that holds the file, or of the partition that is the header. "" is the
	// image: the file is HeaderInImage.
	Device string `json:"device,omitempty"`
	// Path is the file's on the device, or where the image's was taken from.
	// "" is the device itself.
	Path string `json:"path,omitempty"`
}

// HeaderInImage is where the image has the header of a volume.
func (v Volume) HeaderInImage() string { return "/headers/" + v.UUID }

// String says which header it is.
func (h HeaderFile) String() string {
	switch {
	case h.Device == "":
		return "the header " + h.Path + " in the image"
	case h.Path == "":
		return "the header on the device " + h.Device
	}
	return "the header " + h.Path + " on " + h.Device
}

// checkHeader judges where the two parts of a volume are.
func (v Volume) checkHeader() error {
	if v.Header == nil {
		if v.Data != "" {
			return errors.New("data is set: it is for a volume whose header is elsewhere (header: {path: FILE})")
		}
		return nil
	}
	if err := v.Header.check(); err != nil {
		return fmt.Errorf("header: %w", err)
	}

	key, value, _ := strings.Cut(v.Data, "=")
	switch {
	case v.LUKS1:
		return errors.New("header and luks1 do not go together: only LUKS2 is opened with a header of its own")
	case v.Data == "" && v.Serial == "":
		return errors.New("data is missing: say which device has the payload (PARTUUID= or PARTLABEL=, or serial: for a whole disk)")
	case v.Data == "":
		return nil
	case !slices.Contains([]string{"PARTUUID", "PARTLABEL"}, key) || value == "" || len(v.Data) > 256 || !printable(v.Data):
		return fmt.Errorf("data is %.80q, want PARTUUID= or PARTLABEL=: nothing else tells a payload without header from noise (lsblk -o NAME,PARTUUID)", v.Data)
	}
	return nil
}

func (h HeaderFile) check() error {
	switch key, value, tagged := strings.Cut(h.Device, "="); {
	case h.Device == "" && !path.IsAbs(h.Path):
		return fmt.Errorf("path is %.80q, want the absolute path of the file that goes into the image, or device: LABEL=… beside it", h.Path)
	case h.Device != "" && (!tagged || len(h.Device) > 256 || !printable(h.Device)):
		return fmt.Errorf("device is %.80q, want LABEL=, UUID=, PARTUUID= or PARTLABEL=", h.Device)
	case h.Device != "" && checkTag(key, value) != nil:
		return fmt.Errorf("device is %q: %w", h.Device, checkTag(key, value))
	case len(h.Path) > 1024 || !printable(h.Path) || slices.Contains(strings.Split(h.Path, "/"), ".."):
		return fmt.Errorf("path is %.80q, want at most 1024 printable characters without ../", h.Path)
	}
	return nil
}
