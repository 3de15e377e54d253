//go:build !race

package lk1_test

const raced = false
