package netup

// PlaceOf is placeOf, to be tried on a made-up sysfs.
var PlaceOf = placeOf
