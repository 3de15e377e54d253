package clevis

import "encoding/json"

// A Server is one that a token names, and its key there.
type Server struct {
	URL        string `json:"url"`
	Thumbprint string `json:"thumbprint"`
}

// Servers lists the tang servers of a token of type clevis, those of shares
// too. What cannot be read is left out.
func Servers(token json.RawMessage) []Server {
	j, err := parseToken(token)
	if err != nil {
		return nil
	}
	left := maxJWEs
	return j.servers(maxDepth, &left)
}

func (j *jwe) servers(depth int, left *int) (all []Server) {
	if *left--; *left < 0 {
		return nil
	}
	if j.header.Clevis.Pin == "tang" {
		return []Server{{j.header.Clevis.Tang.URL, j.header.Kid}}
	}
	if depth == 0 {
		return nil
	}
	for _, text := range j.header.Clevis.SSS.JWE {
		if share, err := parseCompact(text); err == nil {
			all = append(all, share.servers(depth-1, left)...)
		}
	}
	return all
}
