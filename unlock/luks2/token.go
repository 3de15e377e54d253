package luks2

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// AnyToken is the lowest free token ID.
const AnyToken = -1

// SetToken puts a token into the header, in place of one with the same ID,
// and returns the header as it then stands and the ID. The token must be a
// JSON object with a "type" and a list of "keyslots".
func (h *Header) SetToken(s Storage, id int, token json.RawMessage) (*Header, int, error) {
	if id == AnyToken {
		id = h.meta.freeToken()
	}
	if err := checkToken(id, token); err != nil {
		return nil, 0, fmt.Errorf("setting token %d of volume %s: %w", id, h.uuid, err)
	}

	after, err := h.change(s, edit{metadata: func(m *metadata) error {
		m.tokens = slices.DeleteFunc(m.tokens, func(t Token) bool { return t.ID == id })
		m.tokens = append(m.tokens, Token{ID: id, JSON: token})
		return nil
	}})
	if err != nil {
		return nil, 0, fmt.Errorf("setting token %d of volume %s: %w", id, h.uuid, err)
	}

	return after, id, nil
}

// RemoveToken takes a token out of the header.
func (h *Header) RemoveToken(s Storage, id int) (*Header, error) {
	after, err := h.change(s, edit{metadata: func(m *metadata) error { return m.removeToken(id) }})
	if err != nil {
		return nil, fmt.Errorf("removing token %d of volume %s: %w", id, h.uuid, err)
	}
	return after, nil
}

func (m *metadata) removeToken(id int) error {
	i := m.token(id)
	if i < 0 {
		return reject("token", "token %d is not there", id)
	}
	m.tokens = slices.Delete(m.tokens, i, i+1)
	return nil
}

// freeToken is the lowest free token ID.
func (m *metadata) freeToken() int {
	id := 0
	for m.token(id) >= 0 {
		id++
	}
	return id
}

// checkToken holds a token to the rules for the whole JSON area, because
// it becomes part of it.
func checkToken(id int, token json.RawMessage) error {
	if id < 0 || id >= maxObjects {
		return reject("token", "%d is no token ID", id)
	}
	if len(token) > maxHeader {
		return reject("token", "the token has %d bytes", len(token))
	}
	if !json.Valid(token) { // else it might end its object and begin another
		return reject("json-syntax", "the token is not one JSON value")
	}
	wrapped := append([]byte(`{"tokens":{"`+strconv.Itoa(id)+`":`), token...)
	_, err := jsonText(append(wrapped, "}}\x00"...))
	return err
}

func (m *metadata) token(id int) int {
	return slices.IndexFunc(m.tokens, func(t Token) bool { return t.ID == id })
}

// forget takes a removed keyslot out of the lists of all tokens.
func (m *metadata) forget(slot int) (err error) {
	for i, t := range m.tokens {
		if !slices.Contains(t.Keyslots, slot) {
			continue
		}
		left := slices.DeleteFunc(slices.Clone(t.Keyslots), func(id int) bool { return id == slot })
		if m.tokens[i].JSON, err = withKeyslots(t.JSON, left); err != nil {
			return err
		}
	}
	return nil
}
