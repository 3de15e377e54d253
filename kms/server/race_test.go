//go:build race

package server_test

// raced: the race detector makes everything several times slower.
const raced = true
