package page

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"latchkey/internal/escrow"
	"latchkey/kms/admin"
	"latchkey/kms/server/lk1"
)

// recoveryView is how it stands with the recovery keys of all volumes.
type recoveryView struct {
	Volumes []lk1.Recovery // those that lack one first
	Lacking int
	All     int
	Needs   string // who else must want a key, if one was just asked for
}

func (v *visit) recovery() error { return v.showRecovery("") }

func (v *visit) showRecovery(needs string) error {
	var all []lk1.Recovery
	if err := v.get("/v1/recoveries", nil, &all); err != nil {
		return err
	}
	view := recoveryView{Needs: needs, All: len(all)}
	var well []lk1.Recovery
	for _, r := range all {
		if r.Open() {
			well = append(well, r)
			continue
		}
		view.Volumes = append(view.Volumes, r)
	}
	view.Lacking = len(view.Volumes)
	view.Volumes = append(view.Volumes, well...)
	view.Volumes = view.Volumes[:min(len(view.Volumes), maxVolumes)]
	return v.render("recovery", view)
}

// handOut answers with a sealed recovery key as a file, which counts as handed
// out from then on, or says who else must want that.
func (v *visit) handOut() error {
	uuid := v.r.PathValue("uuid")
	body, err := json.Marshal(lk1.Handing{Reason: v.r.PostFormValue("reason"), Again: v.r.PostFormValue("again") != ""})
	if err != nil {
		return err
	}
	var out lk1.Handed
	if err := v.ask(http.MethodPost, "/v1/recovery/release", url.Values{"uuid": {uuid}}, body, &out); err != nil {
		return err
	}
	if out.Needs != "" {
		return v.showRecovery(out.Needs)
	}
	text, err := escrow.Armor(out.Sealed)
	if err != nil {
		return &admin.StatusError{Status: http.StatusInternalServerError, Text: err.Error()}
	}
	v.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	v.w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="recovery-%s.age"`, out.UUID))
	_, err = io.WriteString(v.w, text)
	return err
}
