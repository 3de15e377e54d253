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

const notKey = "not used: where keys are is the image's to say (sources: [key-file: {device: LABEL=…, path: FILE}] in latchkey.yaml)"

// keyHint is rd.luks.key= in the forms of systemd-cryptsetup-generator(8),
// [UUID=]FILE[:DEVICE], and of dracut.cmdline(7), FILE[:DEVICE[:LUKSDEVICE]].
// What opens a volume is trust, so it may repeat what the image says.
func (p *Plan) keyHint(value string) string {
	uuid, file := "", value
	if before, after, ok := strings.Cut(value, "="); ok && !strings.Contains(before, "/") {
		uuid, file = before, after
	}
	file, device, _ := strings.Cut(file, ":")
	device, _, _ = strings.Cut(device, ":")
	named := func(f KeyFile) bool { return f.Path == file && f.Device == device }
	for _, v := range p.volumes(uuid) {
		if !slices.ContainsFunc(v.Sources, func(s string) bool { f, ok := p.KeyFile(s); return ok && named(f) }) {
			return notKey
		}
	}
	if uuid == "" && slices.ContainsFunc(p.KeyFiles, named) || uuid != "" && len(p.volumes(uuid)) > 0 {
		return ""
	}
	return notKey
}
