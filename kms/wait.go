package kms

import (
	"context"
	"net"
	"time"
)

// WaitPath is where a machine that was told to wait hears that something was
// changed for it.
const WaitPath = "/lk1/wait"

// MaxWait is how long a machine waits there at most.
const MaxWait = 10 * time.Minute

// A connection on which nothing is said for so long is looked after by the
// kernel: a server that is gone is noticed within half a minute.
var waitProbes = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// EncodeWait is the message of a machine that waits, with M4's report cookie.
func EncodeWait(cookie []byte) []byte {
	w := NewWriter(2 + len(cookie))
	w.Field(cookie)
	return w.Bytes()
}

// ParseWait reads it.
func ParseWait(b []byte) (cookie []byte, err error) {
	r := NewReader(b)
	cookie = r.Field("report cookie", MaxReportCookie)
	return cookie, r.End()
}

// Wait returns nil once the KMS says that something was changed for this
// machine since it was refused, so that it is worth asking again. The word is
// a hint, as anybody on the LAN can say it: who is told too often asks at its
// own pace. An error says that this KMS tells nothing, or nothing any more.
// The cookie is that of an Error or of a Grant.
func (c *Client) Wait(ctx context.Context, url string, cookie []byte) error {
	to, err := ParseURL(url)
	if err != nil {
		return err
	}
	s := &session{dial: c.Dial, to: to, patience: MaxWait}
	defer s.close()
	if err := s.connect(ctx); err != nil {
		return &Error{What: "asking " + to.String() + " for " + WaitPath, code: CodeUnreachable, Err: err}
	}
	if tcp, ok := s.conn.(*net.TCPConn); ok {
		tcp.SetKeepAliveConfig(waitProbes)
	}
	_, err = s.once(ctx, WaitPath, EncodeWait(cookie))
	return err
}
