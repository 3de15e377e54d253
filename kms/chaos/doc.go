// Package chaos has tests of whole key servers, as processes, on the stores
// that there are, while servers are killed and stopped, wires to the store
// cut and silent, and disks full: what machines and operators saw must be as
// if all had happened one after the other. make chaos runs them for long.
package chaos
