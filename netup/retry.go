package netup

import "time"

// A retry is when something that failed is tried again.
type retry struct {
	at   time.Time
	wait time.Duration
}

// due tells whether it is time for an attempt at what key names, and plans
// the next one: after a second, then ever later, up to lastRetry.
func (n *network) due(key string) bool {
	r := n.retries[key]
	if r == nil {
		r = &retry{}
		n.retries[key] = r
	}
	if time.Now().Before(r.at) {
		return false
	}
	r.wait = min(max(2*r.wait, time.Second), lastRetry)
	r.at = time.Now().Add(r.wait)
	n.soon(r.wait)
	return true
}

// once calls f the first time that key comes up.
func (n *network) once(key string, f func()) {
	if !n.said[key] {
		n.said[key] = true
		f()
	}
}

// warn says what is wrong with a link, the same thing only once: it is tried
// for ever, and the console is not for repetitions.
func (n *network) warn(link, text string, err error) {
	n.once("warn "+link+text+err.Error(), func() { n.log.Warn(text, "link", link, "error", err) })
}
