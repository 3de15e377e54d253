package netup

// AltNames is altNames, to be tried on a made-up sysfs.
var AltNames = altNames
