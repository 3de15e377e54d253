package latchkey_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the generated parts of DESIGN.md")

// rooms says in one line what each folder with Go code is. The table in
// DESIGN.md is made of it and of the rules.
var rooms = []struct{ folder, what string }{
	{"cmd/init", "PID 1, worker and latch of the initramfs in one binary: wiring only"},
	{"cmd/kcrypt-discovery-challenger", "takes the place of Kairos' executable of that name"},
	{"cmd/latchkey", "the operator's command on machines: build an image, enroll, inspect, check"},
	{"cmd/latchkey-agent", "gives keys to the early boot of initramfs-tools, dracut and mkinitcpio: wiring only"},
	{"cmd/latchkey-kms", "the key server's command: serve, and its administration"},
	{"cmd/latchkey-kms-bench", "load generator with software machines"},
	{"cmd/latchkey-responder", "answers mDNS on a LAN for a key server that is elsewhere"},

	{"boot", "PID 1: the story of one boot, its children, mount, SwitchRoot, rescue"},
	{"boot/codes", "class, meaning and advice of every stable code"},
	{"boot/report", "what a boot leaves in /run/latchkey/boot.json"},
	{"boot/wire", "the records that worker and latch send to PID 1"},
	{"boot/latch", "the role that extends PCRs before and after the volumes are opened"},
	{"boot/worker", "the role that reads all that outsiders write: modules, disks, network, key server, TPM"},
	{"boot/agent", "gives keys to an early boot that is not ours, and latches: askpass, systemd's agents and sockets"},
	{"boot/beat", "has a running machine say that it is there, for as long as it runs"},
	{"boot/module", "kernel modules by dependency and alias"},
	{"boot/device", "block devices, uevents, superblocks"},

	{"netup", "links, DHCPv4, DHCPv6, SLAAC, static, VLAN, bond, bridge, routes, DNS servers"},
	{"discover", "find a key server by mDNS and DNS, and answer for one"},
	{"discover/dns", "the codec of DNS messages"},

	{"unlock", "volumes and what opens them, to mappings; rotation"},
	{"unlock/source", "the seam between what yields keys and what opens volumes with them"},
	{"unlock/source/clevis", "what clevis bound to tang servers and the TPM, alone or shared"},
	{"unlock/source/cryptenroll", "what systemd-cryptenroll bound to the TPM"},
	{"unlock/source/kairos", "the client of kcrypt-challenger's protocol, in both generations"},
	{"unlock/source/keyfile", "keys in files: in the image, or on a stick that somebody plugs in"},
	{"unlock/source/talos", "what Talos Linux gave its disks: keys of a KMS, of the TPM and of the machine's identity"},
	{"unlock/source/together", "makes the passphrase of a keyslot from what several sources yield"},
	{"unlock/source/prompt", "what people type at the console"},
	{"unlock/luks2", "read, judge and write LUKS2 headers; LUKS1 read-only"},
	{"unlock/lvm", "reads LVM2: which logical volumes there are, and their device-mapper tables; changes nothing"},
	{"unlock/bcache", "reads the superblocks of bcache: which caches a device needs; changes nothing"},
	{"unlock/md", "reads the superblocks of software RAID: which arrays there are, and whether they can run; changes nothing"},
	{"unlock/md/control", "has the kernel run arrays, by sysfs"},
	{"unlock/dm", "the crypt mapping, its key handed over by the kernel keyring"},
	{"unlock/dm/control", "the ioctls of /dev/mapper/control"},
	{"unlock/tpm", "everything said to a TPM: identify, prove, seal, unseal, extend"},

	{"kms", "lk1: messages, key exchange, and the client that the init links"},
	{"kms/config", "kms.yaml and flags, as one typed value"},
	{"kms/home", "the data directory: open, restore, migrate, wrapping key"},
	{"kms/page", "the administration in a browser: pages, sign-in, sessions' cookies; asks the API"},
	{"kms/operator", "what the commands ask a server that runs, or the database"},
	{"kms/operator/top", "the operator's terminal view: who waits, what happens, and a key that approves"},
	{"kms/operator/loader", "what boot loaders measure of kernel, initrd and command line, from the files"},
	{"kms/daemon", "serve, reload, watchdog, metrics listener, advertise"},
	{"kms/bench", "machines of lk1, Kairos, Talos and clients of tang in software, and their load"},
	{"kms/front", "listeners, limits, certificates"},
	{"kms/front/proxy", "PROXY headers and X-Forwarded-For"},
	{"kms/ledger", "what is kept and how: transactions, vault, audit chain, keyrings, tables of their owners, epoch mark"},
	{"kms/backup", "copies of the database in other places: verified, sealed, read back, as many as are wanted"},
	{"kms/backup/bucket", "backups in a bucket of S3"},
	{"kms/history", "the form in which the audit log ends: its Merkle tree, checkpoints, proofs"},
	{"kms/history/archive", "segments of the audit log as files, and what is wrong with them"},
	{"kms/history/export", "events for collectors of logs: JSON lines, syslog, OTLP"},
	{"kms/history/witness", "asks witnesses of transparency logs to cosign"},
	{"kms/admin", "the operator's routes, scopes, tokens, OpenAPI, HTTPS"},
	{"kms/server", "wiring: a ledger, the protocols and the administration"},
	{"kms/server/lk1", "who gets which key: proofs, policy, nodes, volumes, approval"},
	{"kms/server/attest", "judges TPM keys, challenges and quotes"},
	{"kms/server/eventlog", "what a machine measured while it started: replays its log, sums it up, compares two boots"},
	{"kms/server/fleet", "the machines of one protocol, and those that wait for approval"},
	{"kms/server/policy", "one pure function from facts to a verdict, and what configures it"},
	{"kms/server/presence", "when machines were last seen, and a key server was there to see them; tickets of beats"},
	{"kms/server/release", "image releases, and how groups of machines are moved from one to the next"},
	{"kms/server/site", "servers of sites that go on when the center is away: copies, bounds, and what they tell when it is back"},
	{"kms/server/ekcert", "judges the certificates of TPM makers"},
	{"kms/server/hook", "tells web services and programs what happens; waits for nobody"},
	{"kms/server/kairos", "what machines of Kairos say and hear"},
	{"kms/server/kairos/keeper", "which machine of Kairos gets which passphrase, and its rows"},
	{"kms/server/talos", "what machines of Talos Linux say and hear"},
	{"kms/server/talos/keeper", "which machine of Talos may seal and unseal, and its rows"},
	{"kms/server/k8s", "KMS v2 of Kubernetes' API server"},
	{"kms/server/k8s/keeper", "the named keys that encrypt for Kubernetes"},
	{"kms/server/rulebook", "the policy in the store, in editions, for all servers on it"},
	{"kms/server/terms", "the policy's rules for machines that speak another protocol than lk1"},
	{"kms/server/tang", "what clients of tang say and hear: advertisements, the exchange"},
	{"kms/server/tang/keeper", "the keys that clients of tang encrypt to, and who may use which"},
	{"kms/server/rpc", "limits of gRPC servers"},
	{"kms/server/metrics", "counters, histograms and gauges, by Prometheus' library"},
	{"kms/chaos", "tests of whole key servers that die, stop and lose their store: what was seen is as if one after the other"},
	{"kms/wrapping", "the key that wraps the database's: a file, a passphrase, the host's TPM, programs, transit, shares"},
	{"kms/wrapping/shamir", "shares a secret among people over GF(256)"},
	{"kms/store", "the interface of what keeps the key server's state"},
	{"kms/store/bolt", "one file; the default"},
	{"kms/store/etcd", "an etcd that several servers share"},
	{"kms/store/kube", "Secrets of one namespace that several servers share"},
	{"kms/store/mirror", "what the shared stores have in common: rows in memory, transactions that are tried again"},

	{"initramfs", "what is in an image: plan, module closure, archive"},
	{"initramfs/bootentry", "what the boot loaders of a machine offer, and which entry they start by themselves; changes nothing"},
	{"initramfs/uki", "unified kernel images: sections, PCR 11, signatures"},

	{"internal/hosttab", "what this machine's crypttab and fstab call its volumes"},
	{"internal/escrow", "recovery keys sealed to people, with what they are for"},
	{"internal/meminfo", "how much memory this machine has"},
	{"internal/order", "sorts with one piece of code for all types: the init is small"},
	{"internal/pcr", "what latchkey measures into PCR 11, and how a signature names it"},
	{"internal/plan", "the plan: types, the strict parser of image and command line, one Check"},
	{"internal/cloudconfig", "what cloud-configs of Kairos say of encrypted partitions"},
	{"internal/datafile", "files that are written whole or not at all"},
	{"internal/program", "runs programs that a configuration names, in their time"},
	{"internal/rootdir", "finds the files of a system below a root directory, whose links lead nowhere else"},
	{"internal/disk", "opens an image file or a block device, and keeps others from writing to it"},
	{"internal/endpoint", "the grammar of a key server's URL"},
	{"internal/lzma", "unpacks what xz compressed in its older format: modules in blocks"},
	{"internal/mapping", "the rules for UUIDs and mapping names"},
	{"internal/certfile", "certificate files, read again when they change"},
	{"internal/cli", "what all commands share: exit codes, output, manual pages"},
	{"internal/ifwatch", "network interfaces as they come and go"},
	{"internal/spelling", "how far apart two words are, for messages that name the nearest"},
	{"internal/label", "the grammar of the labels of machines"},
	{"internal/strictyaml", "configuration files of people, with errors that name the line and the nearest key, and their JSON Schemas"},
	{"internal/strictyaml/schematest", "judges files by those schemas, as editors do"},
	{"docs", "the pages, for commands that print parts of them"},
	{"internal/tlsclient", "TLS to servers that the plan knows, by a machine whose clock may be wrong"},
	{"internal/version", "which latchkey a program is, for --version"},
	{"internal/unary", "one unary call of gRPC on a connection"},
	{"internal/strictjson", "JSON that two readers cannot understand differently"},
	{"internal/kmsg", "slog to the kernel log"},
	{"internal/kube", "a Kubernetes API server by plain REST: get, put, list, watch"},
	{"internal/secret", "key bytes that never print and are wiped"},
	{"internal/testreport", "reads go test -json; a skipped test fails CI"},

	{"deploy", "recipes for others' tools (Ansible, cloud-init, Ignition, Kairos, mkosi, Nix), read by those tools"},
	{"deploy/nas", "a recipe for compose on a NAS, walked through with the real image"},
	{"charts", "the Helm charts, rendered and installed by Helm"},
	{"images/oci", "container images without a container engine"},
	{"images/release", "builds twice and compares; materials, provenance and signatures of a release"},

	{"qemu-tests", "whole boots as readable scripts, run against the built binaries"},
	{"qemu-tests/browser", "a person at a real Chromium, who does what a file of steps says"},
	{"qemu-tests/eventlogs", "records the event logs of real boots"},
	{"qemu-tests/mutants", "switches rules off, one at a time, and looks for the test that fails"},
	{"qemu-tests/performance", "compares what a boot takes with docs/performance.md, and writes that page"},
	{"qemu-tests/testroot", "the tiny root that those boot into"},
}

// doubles are the folders that only tests use: software TPMs, servers, LANs.
var doubles = []string{
	"boot/boottest",
	"internal/docexample",
	"internal/golden",
	"internal/testkube",
	"internal/testlan",
	"internal/tlsclient/tlstest",
	"kms/history/witnesstest",
	"kms/server/eventlog/eventlogtest",
	"kms/server/kairos/kairostest",
	"kms/softtpm",
	"kms/store/etcd/etcdtest",
	"kms/store/kube/kubetest",
	"kms/store/storetest",
	"unlock/luks2/luks2test",
	"unlock/lvm/lvmtest",
	"unlock/bcache/bcachetest",
	"unlock/md/mdtest",
	"unlock/source/clevis/clevistest",
	"unlock/source/talos/talostest",
	"unlock/tpm/tpmtest",
}

// TestRooms: every folder with Go code is described, once, or a test
// double, and what is described exists.
func TestRooms(t *testing.T) {
	known := map[string]bool{".": true}
	for _, r := range rooms {
		if known[r.folder] {
			t.Errorf("%s is described twice", r.folder)
		}
		known[r.folder] = true
	}
	for _, d := range doubles {
		known[d] = true
	}
	there := map[string]bool{}
	for _, f := range goFiles(t) {
		there[filepath.Dir(f)] = true
	}

	for dir := range there {
		if !known[dir] {
			t.Errorf("%s is not described: add a line to house_rooms_test.go, then go test -run TestDesignTable -update .", dir)
		}
	}
	for dir := range known {
		if !there[dir] {
			t.Errorf("house_rooms_test.go describes %s, which does not exist", dir)
		}
	}
	for _, r := range rules {
		if !known[r.folder] {
			t.Errorf("a rule is about %s, which is not described", r.folder)
		}
	}
}

// TestDesignTable: the table of folders in DESIGN.md is the one made here.
func TestDesignTable(t *testing.T) {
	const begin, end = "<!-- folders: go test -run TestDesignTable -update . -->\n", "<!-- end of folders -->\n"
	text, err := os.ReadFile("DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(text), begin)
	table, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("DESIGN.md lacks the lines %q and %q", begin, end)
	}

	want := designTable()
	if *update {
		if err := os.WriteFile("DESIGN.md", []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, table); diff != "" {
		t.Errorf("the table of folders in DESIGN.md is old (-want +got):\n%s", diff)
	}
}

func designTable() string {
	var b strings.Builder
	b.WriteString("| folder | what it is | the rule that its imports keep |\n|---|---|---|\n")
	for _, r := range rooms {
		var why []string
		for _, rule := range rules {
			if rule.folder == r.folder && !slices.Contains(why, rule.why) {
				why = append(why, rule.why)
			}
		}
		b.WriteString("| `" + r.folder + "` | " + r.what + " | " + strings.Join(why, "; ") + " |\n")
	}
	b.WriteString("\nOnly tests use `" + strings.Join(doubles, "`, `") + "`.\n")
	return b.String()
}
