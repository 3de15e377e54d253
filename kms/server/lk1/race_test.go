//go:build race

package lk1_test

// raced: the race detector makes everything several times slower.
const raced = true
