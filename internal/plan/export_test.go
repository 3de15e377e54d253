package plan

// ReadCanonical is for tests of what Decode hides: by which way a plan was
// read.
var ReadCanonical = readCanonical
