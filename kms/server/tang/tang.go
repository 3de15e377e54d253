// Package tang answers clients of tang: clevis, and what asks as it does.
// They fetch an advertisement of keys once, and at each boot have a blinded
// point multiplied by one of them. Nothing proves who asks; what is given to
// whom is the Keeper's business.
package tang

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"time"

	"latchkey/kms/front"
	"latchkey/kms/server/attest"
)

// An Ask is a request. Nothing in it is proven but the address.
type Ask struct {
	Client string // whose keys are meant; "" is those for everybody
	From   netip.Addr
}

// A Keeper decides who is answered, and keeps the keys.
type Keeper interface {
	// Admit says whether a source may ask now at all, whatever it asks. Its
	// error is a *Refusal.
	Admit(a Ask) error
	// Advertise returns the advertisement, signed also by the signing key
	// of a thumbprint, if that is not "". Its error is a *Refusal, or a
	// failure of the keeper's own.
	Advertise(ctx context.Context, a Ask, thumbprint string) ([]byte, error)
	// Recover multiplies a point by the key of a thumbprint, and answers
	// after that was recorded. Errors are as those of Advertise.
	Recover(ctx context.Context, a Ask, thumbprint string, point Key) (Key, error)
}

// Observe is told how a request ended: ok, refused, busy or failed.
type Observe func(operation, result string, began time.Time)

// maxBody bounds a request, in bytes. A point has 250.
const maxBody = 8 << 10

// The paths, as tang has them, with any number of slashes: clevis asks for
// "/adv/" without a thumbprint. Keys for one client are below /for/NAME.
var (
	advPath = regexp.MustCompile(`^(?:/+for/+([a-z0-9.-]{1,63}))?/+adv(?:/*|/+([0-9A-Za-z_-]+))$`)
	recPath = regexp.MustCompile(`^(?:/+for/+([a-z0-9.-]{1,63}))?/+rec/+([0-9A-Za-z_-]+)$`)
)

// A Handler answers clients of tang.
type Handler struct {
	keeper  Keeper
	observe Observe
	log     *slog.Logger
}

// NewHandler makes one.
func NewHandler(k Keeper, observe Observe, log *slog.Logger) *Handler {
	return &Handler{k, observe, log}
}

// Serves tells whether a path is tang's.
func Serves(path string) bool { return advPath.MatchString(path) || recPath.MatchString(path) }

// ServeHTTP implements http.Handler. Answers have the statuses that tang's
// have, and 403, 429 and 503 for what it does not know.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began, operation, method := time.Now(), "advertise", http.MethodGet
	found := advPath.FindStringSubmatch(r.URL.Path)
	if found == nil {
		operation, method = "recover", http.MethodPost
		found = recPath.FindStringSubmatch(r.URL.Path)
	}
	if found == nil {
		empty(w, http.StatusNotFound)
		return
	}
	if r.Method != method {
		w.Header().Set("Allow", method)
		empty(w, http.StatusMethodNotAllowed)
		return
	}

	a := Ask{Client: found[1], From: from(r)}
	media, body, err := h.answer(w, r, a, operation, found[2])
	if err != nil {
		h.refuse(w, operation, a, err, began)
		return
	}
	h.observe(operation, "ok", began)
	w.Header().Set("Content-Type", media)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body)
}

func (h *Handler) answer(w http.ResponseWriter, r *http.Request, a Ask, operation, thumbprint string) (media string, body []byte, err error) {
	if err := h.keeper.Admit(a); err != nil {
		return "", nil, err
	}
	if operation == "advertise" {
		defer front.Serving(r.Context())()
		body, err = h.keeper.Advertise(r.Context(), a, thumbprint)
		return "application/jose+json", body, err
	}

	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return "", nil, &Refusal{TooLarge, "the request has more than 8 KiB"}
	}
	if err != nil {
		return "", nil, &Refusal{Malformed, "the request is not whole"}
	}
	defer front.Serving(r.Context())()
	point, err := readPoint(text)
	if err != nil {
		return "", nil, err
	}
	product, err := h.keeper.Recover(r.Context(), a, thumbprint, point)
	if err != nil {
		return "", nil, err
	}
	body, err = json.Marshal(product)
	return "application/jwk+json", body, err
}

// readPoint judges a request in tang's order.
func readPoint(text []byte) (Key, error) {
	k, err := ParseKey(text)
	switch {
	case err != nil:
		return k, &Refusal{Malformed, err.Error()}
	case !k.permits("deriveKey", false):
		return k, &Refusal{NotExchange, "the key of the request is not for deriving keys"}
	case k.Kty != "EC", k.Alg != "" && k.Alg != algExchange:
		return k, &Refusal{Malformed, "the request is no point for ECMR"}
	}
	return k, nil
}

// refuse answers what was not answered, without a word: the cause is in the
// log.
func (h *Handler) refuse(w http.ResponseWriter, operation string, a Ask, err error, began time.Time) {
	log := h.log.With("protocol", "tang", "operation", operation, "client", a.Client, "from", a.From)
	status, result := http.StatusServiceUnavailable, "failed"
	refused, decided := errors.AsType[*Refusal](err)
	switch {
	case decided:
		status, result = refused.Reason.status(), "refused"
		level := slog.LevelWarn
		if refused.Reason == TooOften {
			level = slog.LevelDebug // its requests are not to fill the log
		}
		log.Log(context.Background(), level, "refused", "why", refused)
	case errors.Is(err, attest.ErrBusy):
		result = "busy"
	default:
		log.Error("answering", "err", err)
	}
	h.observe(operation, result, began)
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5") // seconds
	}
	empty(w, status)
}

// empty answers with a status alone, as tang does.
func empty(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(status)
}

// from is where a request comes from; the front has asked its proxies.
func from(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}
