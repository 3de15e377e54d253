package plan

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Version is the version of the plan file that this package writes. It also
// reads version 1, which has no key files and no head start.
const Version = 2

// maxPlan caps the plan file, in bytes.
const maxPlan = 1 << 20

// ErrInvalid is wrapped by every error of a plan file that breaks a rule.
var ErrInvalid = errors.New("invalid plan")

// A Plan is all that a boot needs to know. Whom to trust and which volumes
// are opened with which sources comes from the plan file in the image only.
// The command line may refine where a KMS is looked for, the network, the
// root, the names and options of mappings, the modules, what follows a
// failure, and may make the waits longer.
type Plan struct {
	Version int      `json:"version"`
	Trust   Trust    `json:"trust"`
	Find    Find     `json:"find"`
	Net     Net      `json:"net"`
	TPM     TPM      `json:"tpm"`
	Volumes []Volume `json:"volumes"`
	// KeyFiles are those that volumes list among their sources.
	KeyFiles []KeyFile `json:"key_files,omitempty"`
	// Recipes are those that volumes list among their sources.
	Recipes []Recipe `json:"recipes,omitempty"`
	// Clevis is what the source clevis may do.
	Clevis Clevis `json:"clevis,omitzero"`
	// Systemd is what the source systemd-tpm2 may do.
	Systemd SystemdTPM2 `json:"systemd_tpm2,omitzero"`
	// Talos is what the sources for Talos' volumes may do.
	Talos Talos `json:"talos,omitzero"`
	// Kairos is what the source kairos asks.
	Kairos Kairos `json:"kairos,omitzero"`
	// HeadStart is how much earlier a source begins than the next one of a
	// volume, unless that is the question at the console.
	HeadStart time.Duration `json:"head_start_ns,omitempty"`
	// Degraded is how long an array that lacks members is waited for before it
	// runs without them; NeverDegraded is for ever.
	Degraded time.Duration `json:"degraded_ns,omitempty"`
	Root     Root          `json:"root"`
	Usr      Usr           `json:"usr,omitzero"`
	OnFail   OnFail        `json:"on_fail"`
	Modules  Load          `json:"modules"`
	Stub     Stub          `json:"stub,omitzero"`
	// Resume is where a hibernated system may be: a volume with swap, or a
	// logical volume in one, named as Root.Device is. "" is nowhere.
	Resume string `json:"resume,omitempty"`
	// Multipath are disks that this machine reaches in several ways: one of
	// them is enough for the boot, and multipathd adds the others.
	Multipath []Multipath `json:"multipath,omitempty"`
	// NoPaths is rd.multipath=0: volumes are opened over one path each.
	NoPaths bool `json:"-"`
	// Wait is how long devices are waited for (rd.retry); 0 is for ever.
	Wait time.Duration `json:"wait_ns"`
	// Debug marks an image built for tests: fault injection is in it.
	Debug bool `json:"debug,omitempty"`
	// Logical are logical volumes, "VG/LV", and groups, "VG", that the command
	// line wants mapped besides the root.
	Logical []string `json:"-"`
	// Arrays are the hints about arrays of md.
	Arrays Arrays `json:"-"`
	// ImageRoot and ImageUsr are Root and Usr as the image alone has them. A
	// hint about one that leads nowhere in the boot falls back to it.
	ImageRoot Root `json:"-"`
	ImageUsr  Usr  `json:"-"`
	// ImageResume is Resume as the image alone has it; NoResume is noresume.
	ImageResume string `json:"-"`
	NoResume    bool   `json:"-"`
	// ImageNet is Net as the image alone has it, nil if the command line does
	// not change how a key server is reached. The two take turns while none
	// answers.
	ImageNet *Net `json:"-"`
}

// Trust says which key servers may give keys to this machine.
type Trust struct {
	KMS []PublicKey `json:"kms"` // pinned lk1 keys, at least one
}

// A PublicKey is a KMS key as `latchkey-kms trust` prints it: "lk1:" and
// the standard base64 of 32 bytes of Ed25519.
type PublicKey string

// Key decodes the key.
func (k PublicKey) Key() (ed25519.PublicKey, error) {
	text, ok := strings.CutPrefix(string(k), "lk1:")
	if !ok {
		return nil, fmt.Errorf("key %q does not begin with lk1: (take it from 'latchkey-kms trust')", string(k))
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("key %q is not 32 bytes of base64 (take it from 'latchkey-kms trust')", string(k))
	}
	return raw, nil
}

// Find says where to look for a KMS. What is found is never trusted.
type Find struct {
	URLs     []string `json:"urls,omitempty"`     // http://host[:port]; host may be x.local (endpoint.ParseURL)
	Services []string `json:"services,omitempty"` // mDNS service types, "_latchkey._tcp"
	// Timeout ends a boot that found no KMS; 0 is never.
	Timeout time.Duration `json:"timeout_ns,omitempty"`
	// NoReport keeps the report to the KMS off.
	NoReport bool `json:"no_report,omitempty"`
}

// TPM says how the TPM is used.
type TPM struct {
	EK   string `json:"ek,omitempty"`   // "", "p256" or "rsa2048"; "" takes what the TPM lists
	Kept bool   `json:"kept,omitempty"` // its keys are taken from NV, if "latchkey tpm keep" has left them there
}

// A Volume is one LUKS2 volume that must be open before the pivot.
type Volume struct {
	UUID    string   `json:"uuid"`             // lower case, with dashes
	Name    string   `json:"name"`             // of the mapping
	Serial  string   `json:"serial,omitempty"` // of the disk; tells clones apart
	Sources []string `json:"sources"`          // in the order to try: "kms", "key-file", "prompt"
	// Digest is the header subset digest in hex, if the image pins it.
	Digest string `json:"digest,omitempty"`
	// Label is what a server of Kairos' protocol knows the volume by; "" is
	// the label in its header.
	Label   string   `json:"label,omitempty"`
	Options []string `json:"options,omitempty"` // crypttab words: "discard", "read-only", …
	NoFail  bool     `json:"nofail,omitempty"`  // the boot goes on without it
	LUKS1   bool     `json:"luks1,omitempty"`   // a header of version 1 is taken, too
	Talos   string   `json:"talos,omitempty"`   // what Talos calls it: STATE, EPHEMERAL, u-NAME
	// LockedTo is the volume in which Talos keeps a salt that stands behind this
	// one's passphrases (lockToState).
	LockedTo string `json:"locked_to,omitempty"`
	// Accept is AcceptCryptsetup where the header may have the ciphers and
	// hashes that cryptsetup makes besides its default; "" is that alone.
	Accept string `json:"accept,omitempty"`
	// Header is where the header is, if it is not on the device with the
	// payload. That one is then the partition Data, PARTUUID= or PARTLABEL=,
	// or the whole disk with the serial.
	Header *HeaderFile `json:"header,omitempty"`
	Data   string      `json:"data,omitempty"`
}

// Root says what becomes "/".
type Root struct {
	// Device is /dev/mapper/NAME, /dev/VG/LV, UUID=, LABEL=, PARTUUID=,
	// PARTLABEL= or a path; it selects inside the plan's volumes. "" is the
	// first volume.
	Device    string `json:"device,omitempty"`
	FSType    string `json:"fstype,omitempty"`
	Flags     string `json:"flags,omitempty"`
	ReadWrite bool   `json:"rw,omitempty"`
	Init      string `json:"init,omitempty"` // "" tries the usual paths
	// Overlay is where what is written to the root goes instead: OverlayTmpfs,
	// or what selects a file system inside the plan's volumes, as Device does.
	// "" is the root itself.
	Overlay string `json:"overlay,omitempty"`
	// NoLogical is rd.lvm=0: the root is in no logical volume.
	NoLogical bool `json:"-"`
}

// OnFail is what follows a final failure.
type OnFail struct {
	Action string        `json:"action"` // "reboot", "poweroff", "halt" or "wait"
	After  time.Duration `json:"after_ns"`
}

// Stub says what the boot may use of what a boot stub adds to the image:
// files that lie beside the image on the boot partition, which the image's
// signature does not cover.
type Stub struct {
	// Credentials are names of credentials, without .cred, that the real root
	// gets; a "*" at the end stands for any ending.
	Credentials []string `json:"credentials,omitempty"`
	// Addons: hints may come from words of the command line that are not the
	// image's own.
	Addons bool `json:"addons,omitempty"`
}

// Load names the modules that are always loaded, beside those that the
// devices ask for.
type Load struct {
	Always  []string `json:"always,omitempty"`
	Blocked []string `json:"blocked,omitempty"`
}

// Decode reads a plan file. It must be exactly what Encode writes, so no
// key is unknown, doubled or in another case.
func Decode(file []byte) (*Plan, error) {
	p, canonical, err := decode(file)
	if err != nil {
		return nil, err
	}
	if canonical {
		return p, nil
	}
	again, err := p.Encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, file) {
		return nil, fmt.Errorf("%w: plan file is not as 'latchkey image build' writes it: edit latchkey.yaml and build the image again", ErrInvalid)
	}
	return p, nil
}

// decode is Decode without the last check. The plan is canonical if that is
// not needed.
func decode(file []byte) (p *Plan, canonical bool, err error) {
	if len(file) > maxPlan {
		return nil, false, fmt.Errorf("%w: plan file has %d bytes, the limit is %d", ErrInvalid, len(file), maxPlan)
	}
	if p, canonical = readCanonical(file); !canonical {
		p = &Plan{}
		dec := json.NewDecoder(bytes.NewReader(file))
		dec.DisallowUnknownFields()
		if err := dec.Decode(p); err != nil {
			return nil, false, fmt.Errorf("%w: decoding the plan file: %w (build the image again)", ErrInvalid, err)
		}
	}
	if p.Version < 1 || p.Version > Version {
		return nil, false, fmt.Errorf("%w: plan file has version %d, this init reads 1 to %d (build the image again)", ErrInvalid, p.Version, Version)
	}
	p.ofImage()
	return p, canonical, p.Check()
}

// Encode checks the plan and writes its file.
func (p *Plan) Encode() ([]byte, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	out, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encoding the plan: %w", err)
	}
	return append(out, '\n'), nil
}

// PinnedDigest is the header subset digest that the image pins, 32 bytes,
// or none.
func (v Volume) PinnedDigest() ([]byte, error) {
	raw, err := hex.DecodeString(v.Digest)
	if err != nil {
		return nil, fmt.Errorf("%w: digest of volume %s: %w", ErrInvalid, v.Name, err)
	}
	return raw, nil
}
