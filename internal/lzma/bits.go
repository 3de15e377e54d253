package lzma

// bit reads one bit by its probability, which follows.
func (d *decoder) bit(p *prob) int {
	bound := d.rng >> 11 * uint32(*p)
	b := 0
	if d.code < bound {
		d.rng = bound
		*p += (2*half - *p) >> moveBits
	} else {
		d.rng -= bound
		d.code -= bound
		*p -= *p >> moveBits
		b = 1
	}
	if d.rng < 1<<24 {
		d.next()
	}
	return b
}

// next takes a byte in.
func (d *decoder) next() {
	d.rng <<= 8
	d.code <<= 8
	if d.at == len(d.in) {
		d.short = true
		return
	}
	d.code |= uint32(d.in[d.at])
	d.at++
}

// tree reads a number of n bits, its highest first.
func (d *decoder) tree(probs []prob, n uint) int {
	m := 1
	for range n {
		m = m<<1 | d.bit(&probs[m])
	}
	return m - 1<<n
}

// reverse reads a number of n bits, its lowest first.
func (d *decoder) reverse(probs []prob, n uint) uint32 {
	m, v := 1, uint32(0)
	for i := range n {
		b := d.bit(&probs[m])
		m = m<<1 | b
		v |= uint32(b) << i
	}
	return v
}

// direct reads n bits that are as often one as zero.
func (d *decoder) direct(n uint) (v uint32) {
	for range n {
		d.rng >>= 1
		v <<= 1
		if d.code >= d.rng {
			d.code -= d.rng
			v |= 1
		}
		if d.rng < 1<<24 {
			d.next()
		}
	}
	return v
}

func (d *decoder) readLength(l *lengths, pos int) int {
	switch {
	case d.bit(&l.choice) == 0:
		return minMatch + d.tree(l.low[pos][:], 3)
	case d.bit(&l.choice2) == 0:
		return minMatch + 8 + d.tree(l.mid[pos][:], 3)
	}
	return minMatch + 16 + d.tree(l.high[:], 8)
}

// distance reads the distance of a match of n bytes, less one.
func (d *decoder) distance(n int) uint32 {
	slot := uint32(d.tree(d.slots[min(n-minMatch, lenSlots-1)][:], 6))
	if slot < 4 {
		return slot
	}
	bits := uint(slot>>1 - 1)
	dist := (2 | slot&1) << bits
	if slot < 14 {
		return dist + d.reverse(d.special[dist-slot:], bits)
	}
	return dist + d.direct(bits-4)<<4 + d.reverse(d.align[:], 4)
}
