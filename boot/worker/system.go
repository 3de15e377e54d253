package worker

import (
	"context"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/google/go-tpm/tpm2"

	"latchkey/boot/device"
	"latchkey/discover"
	"latchkey/internal/plan"
	"latchkey/internal/secret"
	"latchkey/kms"
	"latchkey/netup"
	"latchkey/unlock"
	"latchkey/unlock/dm"
	"latchkey/unlock/luks2"
	"latchkey/unlock/md/control"
	"latchkey/unlock/source"
	"latchkey/unlock/source/kairos"
	"latchkey/unlock/source/keyfile"
	"latchkey/unlock/tpm"
)

// System is what the worker asks of the machine. The real one, Kernel,
// takes no decisions; the one in tests is a machine in memory, so that the
// worker's story is told without a virtual machine.
type System interface {
	Drivers
	Disks
	Links
	// OpenTPM opens the TPM, after PID 1's word that it may be used.
	OpenTPM() (TPM, error)
	// Console opens the console for a question: without echo, and without
	// what was typed before. Close gives it back as it was and ends a Read
	// that waits.
	Console() (io.ReadWriteCloser, error)
	// Plan reads the plan and the command line.
	Plan() (*plan.Plan, string, error)
	// ProductUUID is the machine's UUID, as its firmware has it (SMBIOS).
	ProductUUID() (string, error)
	Now() time.Duration // since the kernel started
	Log() *slog.Logger
}

// Drivers are the kernel's devices and modules.
type Drivers interface {
	// Events tells of devices from now on, until ctx ends.
	Events(ctx context.Context) (<-chan device.Event, error)
	// Modaliases lists what the devices that are there call themselves.
	Modaliases() []string
	// Modules reads the image's modules; the blocked ones are never loaded.
	Modules(blocked []string, log *slog.Logger) (Loader, error)
}

// A Loader loads modules; module.Loader says how.
type Loader interface {
	Named(names ...string)
	Device(modalias string)
	Hold(typed bool)
	Release()
}

// Disks are the block devices, and what may be made of them.
type Disks interface {
	Blocks() ([]device.Block, error)
	// Open opens a block device or a mapping.
	Open(path string, write bool) (File, error)
	// Number is a device node's number; ok is false if path is none.
	Number(path string) (n dm.Number, ok bool)
	Map(dm.Target, luks2.VolumeKey) error
	MapLogical(dm.Logical) error
	MapPaths(dm.Paths) error
	// RunArray has the kernel run an array, and gives it the name that the real
	// root knows it by: "host:root".
	RunArray(start control.Start, name string) error
	// RunCached gives the kernel a device of bcache.
	RunCached(path string) error
	// Join tells btrfs of a device: device.Join.
	Join(path string) error
	// ReadKey reads a file with a key: keyfile.Read.
	ReadKey(keyfile.Device, keyfile.File) (secret.Bytes, error)
	// FreeBytes is the memory that is free, 0 if that is not known.
	FreeBytes() int64
}

// A File is an open block device. After Sync, reads come from the disk.
type File interface {
	luks2.Storage
	io.Closer
}

// Links are the network, and who is asked over it.
type Links interface {
	// Network brings links up until ctx ends, and tells of every change.
	Network(ctx context.Context, n plan.Net, log *slog.Logger, update func([]netup.Link)) error
	// Leave gives the links back, or hands them over if the plan keeps them.
	Leave(n plan.Net, links []netup.Link, log *slog.Logger) error
	Sockets() discover.Sockets
	// Dial makes connections over a link; "" leaves it to the routes.
	Dial(link string) func(ctx context.Context, network, address string) (net.Conn, error)
	// TLS makes TLS of a connection; nil in an init that has none.
	TLS() TLS
	// Kairos makes the source kairos; nil in an init that has none.
	Kairos() KairosSource
	// Server asks a key server over a link, likewise.
	Server(pins []kms.Pin, link string) Server
}

// A TLS makes TLS of a connection to a server: tlsclient.Client. It is no
// package that is linked, for most inits have none.
type TLS func(ctx context.Context, conn net.Conn, to plan.TLSServer, warn func(string)) (net.Conn, error)

// A KairosSource makes the source kairos of a worker: Kairos. It is linked
// only where TLS is.
type KairosSource func(w *worker, n *network) source.Source

// A Server is the client's side of a key server: kms.Client.
type Server interface {
	Get(ctx context.Context, url string, p kms.Prover, wants []kms.Want) (*kms.Grant, error)
	Deposit(ctx context.Context, url string, p kms.Prover, op kms.Operation, wants []kms.Want, offers []kms.Offer) (*kms.Grant, error)
	Report(ctx context.Context, url string, g *kms.Grant, results []kms.Result) error
	// Wait returns nil when it is worth asking again after a refusal.
	Wait(ctx context.Context, url string, cookie []byte) error
}

// A TPM is an open TPM. Detail is for the log.
type TPM interface {
	// Unseal gives back what others sealed: tpm.TPM says how.
	Unseal(ctx context.Context, o tpm.Sealed) (secret.Bytes, error)
	Identify(ctx context.Context, o tpm.Options) (id Identity, detail string, err error)
	// Kairos makes what proves the machine to a server of Kairos' protocol.
	Kairos(ctx context.Context, key tpm2.TPMHandle) (kairos.TPM, error)
	// KeptByKairos is the passphrase that the TPM keeps.
	KeptByKairos(ctx context.Context, index, key tpm2.TPMHandle) (secret.Bytes, error)
}

// An Identity is the TPM's keys, which prove and unseal: tpm.Identity.
type Identity interface {
	kms.Witness
	unlock.Unsealer
	Seal(ctx context.Context, s secret.Bytes) ([]byte, error)
	NodeID() kms.NodeID
	Certify(ctx context.Context)
	Know(values []kms.PCR)
	Doubt(ctx context.Context) error
	Prepare(ctx context.Context, pcrs []int) error
	PrepareUnseal(ctx context.Context) error
	Rest()
	Close()
}
