package plan

import (
	"slices"
	"strings"
)

const notHeader = "not used: where a header is is the image's to say (header: {device: LABEL=…, path: FILE} in latchkey.yaml)"

// hasHeader tells whether the image says of all volumes what header= of
// crypttab(5) does: PATH, or PATH:DEVICE.
func hasHeader(volumes []*Volume, value string) bool {
	file, device, _ := strings.Cut(value, ":")
	return !slices.ContainsFunc(volumes, func(v *Volume) bool {
		return v.Header == nil || strings.Trim(v.Header.Path, "/") != strings.Trim(file, "/") || v.Header.Device != device
	})
}

// dataHint reads rd.luks.data=<uuid>=<device>, which tells where a payload
// is: systemd-cryptsetup-generator(8).
func (p *Plan) dataHint(value string) string {
	uuid, device, ok := strings.Cut(value, "=")
	if !ok {
		return "want <uuid>=<device>"
	}
	v, err := p.volume(uuid)
	if err != nil {
		return err.Error()
	}
	for _, tag := range []string{"PARTUUID", "PARTLABEL"} {
		if link, ok := strings.CutPrefix(device, "/dev/disk/by-"+strings.ToLower(tag)+"/"); ok {
			device = tag + "=" + link
		}
	}
	if v.Header == nil || device != v.Data {
		return "not used: where a payload is is the image's to say (data: PARTUUID=… in latchkey.yaml)"
	}
	return ""
}
