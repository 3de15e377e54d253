package worker

import (
	"errors"
	"io"
	"slices"

	"latchkey/boot/codes"
	"latchkey/boot/device"
	"latchkey/unlock/md"
)

// What blkid(8) calls members of arrays; partType is ours.
const (
	arrayType = "linux_raid_member"
	imsmType  = "isw_raid_member"
	ddfType   = "ddf_raid_member"
	partType  = "part_of_raid_member"
)

// isMember tells whether a device belongs to an array of md or of firmware.
// Then nothing else in it counts: with the superblock at the end, each half of
// a mirror begins with the header of the volume that the mirror holds, and
// whoever opens one half destroys the mirror.
func isMember(p *probed, f io.ReaderAt) bool {
	m, err := md.Read(f, p.block.Path, p.block.SizeBytes)
	if errors.Is(err, md.ErrNone) && p.block.Array == "" {
		return false
	}
	p.super = device.Super{Type: arrayType}
	if p.member = m; m == nil {
		return true
	}
	p.damage, p.super.UUID = err, m.UUID
	switch m.Version {
	case "imsm":
		p.super.Type = imsmType
	case "ddf":
		p.super.Type = ddfType
	}
	return true
}

// sort puts what has answered in the order of the devices, and judges
// partitions by their disks: those of a disk that is a member are the
// array's. One whose disk has not answered has not, either.
func (s *search) sort(blocks []device.Block, got map[string]probed) (in []probed, slow []string) {
	disks := map[string]device.Block{}
	for _, b := range blocks {
		disks[b.Name] = b
	}
	for _, b := range blocks {
		if isMapping(b) {
			continue
		}
		p, answered := got[b.Path]
		disk := p
		if whole, listed := disks[b.Disk]; answered && listed && b.Partition > 0 {
			disk, answered = got[whole.Path]
		}
		if !answered {
			slow = append(slow, b.Name)
			continue
		}

		ofArray := disk.isMember() && !disk.isPartitioned(blocks)
		switch {
		case b.Partition > 0 && ofArray:
			p = probed{block: b, super: device.Super{Type: partType}}
		case b.Partition == 0 && p.isMember() && !ofArray:
			p = probed{block: b}
		}
		if p.damage != nil {
			s.arrays.tell(codes.Fail("md-damaged", "%w", p.damage))
		}
		in = append(in, p)
	}
	return in, slow
}

func (p probed) isMember() bool {
	return slices.Contains([]string{arrayType, imsmType, ddfType}, p.super.Type)
}

// isPartitioned tells whether the partitions of a disk count, and not a
// superblock on the disk itself: one at the beginning is then older than
// the partitions, and one at the end that is in a partition is the
// partition's own (0.90 does not say where it is) or older, too. blkid(8) sees
// it so.
func (p probed) isPartitioned(blocks []device.Block) bool {
	if p.member == nil || p.block.Array != "" {
		return false
	}
	atEnd := p.member.Version != "1.1" && p.member.Version != "1.2"
	return slices.ContainsFunc(blocks, func(b device.Block) bool {
		inside := b.FromBytes <= p.member.At && p.member.At < b.FromBytes+b.SizeBytes
		return b.Partition > 0 && b.Disk == p.block.Name && (!atEnd || inside)
	})
}
