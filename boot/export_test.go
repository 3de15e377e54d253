package boot

// Codes opens the table to the test that keeps docs/codes.md true.
var Codes = codes
