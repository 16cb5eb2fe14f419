package neuroquantumws

import (
	"encoding/json"
	"errors"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// RawSQL opens a source to SQL that clients write themselves. They can then read all that the source's login or file can: give it a
// login of its own.
type RawSQL struct {
	// The source. PostgreSQL without role and set, SQLite, and HTTP with the dialect neuroquantum can be opened.
	Source string `json:"source"`
	// Who may send SQL: anyone, authenticated or user:NAME; one that holds is enough. At least one.
	Allow []string `json:"allow"`
}

// unmarshalRawSQL reads an allow_raw_sql.
func (h *Handler) unmarshalRawSQL(d *caddyfile.Dispenser) error {
	given := d.RemainingArgs()
	if len(given) < 2 {
		return d.Err("allow_raw_sql: give a source and at least one term, such as: allow_raw_sql demo role:analyst")
	}
	for _, raw := range h.AllowRawSQL {
		if raw.Source == given[0] {
			return d.Errf("allow_raw_sql %s is given twice", given[0])
		}
	}
	for _, term := range given[1:] {
		if _, err := access.ParseTerm(term); err != nil {
			return d.Errf("allow_raw_sql %s: %v", given[0], err)
		}
	}
	h.AllowRawSQL = append(h.AllowRawSQL, RawSQL{Source: given[0], Allow: given[1:]})
	return nil
}

// checkRawSQL refuses, each at its place, what is opened and cannot be, once all sources are known.
func (h *Handler) checkRawSQL(places []caddyfile.Dispenser) error {
	for i := range places {
		name := h.AllowRawSQL[i].Source
		source, err := h.sourceOf(name)
		if err == nil {
			err = checkRaw(source)
		}
		if err != nil {
			return places[i].Errf("allow_raw_sql %s: %v", name, err)
		}
	}
	return nil
}

// sourceOf is a source of the configuration as it was written, not provisioned.
func (h *Handler) sourceOf(name string) (any, error) {
	raw, ok := h.SourcesRaw[name]
	if !ok {
		return nil, errors.New("there is no such source")
	}
	var kind struct {
		Source string `json:"source"`
	}
	if err := json.Unmarshal(raw, &kind); err != nil {
		return nil, err
	}
	info, err := caddy.GetModule("http.handlers.neuroquantum_ws.sources." + kind.Source)
	if err != nil {
		return nil, err
	}
	source := info.New()
	return source, json.Unmarshal(raw, source)
}

func checkRaw(source any) error {
	raw, ok := source.(stream.RawSource)
	if !ok {
		return errors.New("a source of this kind takes no SQL of clients")
	}
	return raw.CheckRaw()
}
