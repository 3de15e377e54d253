package admin

import (
	"fmt"
	"net/http"
	"strconv"
)

// MaxPage is how many rows one page has at most, and how many may be listed
// at once by who may only look: a whole large fleet is seconds of work.
const MaxPage = 1000

// PageParams are the parameters of a route that lists a page.
var PageParams = []Param{
	{Name: "after", Doc: "next of the page before; the first page if it is not said"},
	{Name: "limit", Doc: "rows of the page, 1 to 1,000; 1,000 if it is not said", Kind: "integer"},
}

// Paging reads the parameters of a page.
func Paging(r *http.Request) (after string, limit int, err error) {
	limit = MaxPage
	if text := r.URL.Query().Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > MaxPage {
			return "", 0, fmt.Errorf("listing a page: limit %.20q: must be 1 to %d", text, MaxPage)
		}
	}
	return r.URL.Query().Get("after"), limit, nil
}
