package hook

import "slices"

// names are what a hook's On may name, besides All. TestNames of kms/server
// compares them with what the audit log gets.
var names = []string{
	// Events of lk1 and of operators.
	"get", "stage", "put", "enroll", "report", "lapse", "vanished", "back", "moved", "push", "push given", "push void",
	"agree", "approve", "link refused", "link over", "accept", "quarantine", "readmit", "renew", "set", "delete", "undelete", "node destroy", "first-boot", "announced", "announced-boot",
	"release add", "release retire", "release remove", "release roll", "release stop", "release resume",
	"release wave", "release came", "release failed", "release stopped", "release done",
	"site add", "site set", "site join", "site remove", "site refused", "site self", "site wiped", "site get", "site start", "site lapse",
	"volume put", "volume delete", "volume undelete", "volume destroy", "volume accept-header", "volume rotate", "volume rotate-abort", "volume older", "volume forget",
	"recovery put", "recovery proven", "recovery replaced", "recovery asked", "recovery release",
	"trust add", "trust use", "trust retire", "trust undelete", "trust destroy", "key rotate", "key retire", "key undelete", "key destroy",
	"store rekey", "store rekeyed", "wrapping change", "unseal", "store upgrade", "policy apply", "policy revert",
	"token create", "token revoke", "sign in", "sign out", "admin", "start", "boot-log", "first-boot", "restore", "salvage", "lost", "strangers", "server end", "audit remove",
	// Events of the other protocols.
	"kairos get", "kairos put", "kairos apply", "kairos sync", "kairos lapse", "kairos renew", "kairos set",
	"kairos approve", "kairos accept", "kairos quarantine", "kairos readmit", "kairos delete", "kairos undelete",
	"talos seal", "talos unseal", "talos lapse", "talos renew", "talos set", "talos approve", "talos quarantine", "talos readmit", "talos delete", "talos undelete",
	"k8s encrypt", "k8s decrypt",
	"tang recover", "tang unknown", "tang rotate", "tang hide", "tang show", "tang retire", "tang undelete", "tang destroy",
	"tang new", "tang revoke", "tang readmit", "tang import", "tang export",
	// Statuses: kms.Status, and those of Kairos' machines.
	"ok", "pending", "quarantined", "refused", "pcr-mismatch", "pcr15-used", "tpm-cleared",
	"not-bound", "no-secret", "header-differs", "header-rollback", "exists", "pending-full", "too-often",
	"no-volume", "secret-missing", "policy", "not-enrolled", "no-key", "replayed", "clock-behind", "tpm-sealed",
	"deleted", "not in the allow list", "from an address where it may not be", "the blob is not one of ours", // of Talos' machines
	"malformed", "too-large", "not-exchange", "retired", "revoked", // of tang's clients
	"downgrade", "lk1-volume", "kept", "too-many-keys",
	// Rules of the policy.
	"state", "quarantine", "network", "enrollment", "role", "announce", "silence", "presence", "window", "latch", "counters", "boot-state", "per-boot", "per-hour", "stores-per-hour",
}

// Names lists what a hook may wait for.
func Names() []string { return append(slices.Clone(names), All) }
