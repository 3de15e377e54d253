package main

// bcaches are the rules by which devices of bcache are read and run.
var bcaches = []mutant{
	{`a superblock of bcache is whole`, `unlock/bcache/bcache.go`, `case le.Uint64(b[atSum:]) != checksum(b[atOffset:atD+8*keys]):`, `case false:`, `./unlock/bcache`, `TestRefused`},
	{`a superblock of bcache is where it says`, `unlock/bcache/bcache.go`, `case le.Uint64(b[atOffset:]) != at/sectorBytes:`, `case false:`, `./unlock/bcache`, `TestRefused`},
	{`journal buckets have a limit`, `unlock/bcache/bcache.go`, `case keys > maxKeys:`, `case false:`, `./unlock/bcache`, `TestRefused`},
	{`data behind a cache are on the device`, `unlock/bcache/bcache.go`, ` || sector >= uint64(max(sizeBytes, 0)/sectorBytes)`, ``, `./unlock/bcache`, `TestRefused|FuzzRead`},
	{`data behind a cache are behind the superblock`, `unlock/bcache/bcache.go`, `if sector < firstSector || `, `if `, `./unlock/bcache`, `TestRefused|FuzzRead`},
	{`a device without a cache needs none`, `unlock/bcache/bcache.go`, `if d.Attached && c.Cache`, `if c.Cache`, `./unlock/bcache`, `TestCaches`},
	{`a cache is of its set`, `unlock/bcache/bcache.go`, ` && c.Set == d.Set`, ``, `./unlock/bcache`, `TestCaches`},
	{`nothing runs without its cache`, `boot/worker/caches.go`, `case d.Attached && len(caches) == 0:`, `case false:`, `./boot`, `TestBcache`},
	{`a cache that is missing is seen to the end`, `boot/worker/caches.go`, `seen = append(seen, lacks(d))`, ``, `./boot`, `TestBcache`},
	{`bcache gets what the boot may need`, `boot/worker/caches.go`, `if !missing || `, `if `, `./boot`, `TestBcache`},
	{`what nobody recognizes behind a cache is waited for`, `boot/worker/caches.go`, `wait := quietWait`, `wait := time.Duration(0)`, `./boot`, `TestBcache`},
	{`what the plan names behind a cache is not waited for`, `boot/worker/caches.go`, `p.behind = s.planned(super) >= 0`, `p.behind = false && s.planned(super) >= 0`, `./boot`, `TestBcache`},
	{`a cache that the kernel has is not given again`, `boot/worker/caches.go`, ` && !c.has(d.Path)`, ``, `./boot`, `TestBcache`},
	{`nothing is opened in front of a cache`, `boot/worker/probe.go`, `if p.super.Type == cacheType {`, `if false {`, `./boot`, `TestBcache`},
	{`the kernel has what it uses`, `boot/device/device.go`, `b.Cached = err == nil`, ``, `./boot/device`, `TestBlocks`},
	{`the image has the host's bcache`, `initramfs/closure.go`, `, forCaches(host), forPaths(host))`, `, forPaths(host))`, `./initramfs`, `TestMirrorModules`},
}
