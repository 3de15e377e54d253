package front

import (
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
)

// Busy asks to come back, each at another time.
func Busy(w http.ResponseWriter) {
	w.Header().Set("Retry-After", strconv.Itoa(1+rand.IntN(4)))
	w.WriteHeader(http.StatusServiceUnavailable)
}

// Remote is the address that a request comes from.
func Remote(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
