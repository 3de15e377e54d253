package config

import "slices"

// An Enrollment says what becomes of a machine that nobody knows.
type Enrollment string

// Enrollments.
const (
	Approve Enrollment = "approve" // the operator is shown it
	Closed  Enrollment = "closed"  // refused: machines are registered beforehand
	Tofu    Enrollment = "tofu"    // trusted from the first time it asks
	Cert    Enrollment = "cert"    // approve, and only with a TPM vendor's certificate
)

// A Protocol is what machines speak on a listener for HTTP.
type Protocol string

// Protocols.
const (
	LK1    Protocol = "lk1"
	Kairos Protocol = "kairos"
	Tang   Protocol = "tang"
)

// A Scope is how much a client of the administration may do.
type Scope string

// Scopes.
const (
	ScopeRead    Scope = "read"
	ScopeApprove Scope = "approve"
	ScopeAdmin   Scope = "admin"
)

var scopes = []Scope{ScopeRead, ScopeApprove, ScopeAdmin}

// Known tells whether it is one of the scopes.
func (s Scope) Known() bool { return slices.Contains(scopes, s) }
