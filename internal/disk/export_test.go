package disk

// Take is the last step of Lock.
var Take = take
