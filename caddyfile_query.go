package neuroquantumws

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/directive"
	"github.com/neuroquantumdb/neuroquantum-ws/live"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

func checkTerms(d *caddyfile.Dispenser, terms []string) error {
	for _, term := range terms {
		if _, err := access.ParseTerm(term); err != nil {
			return d.Errf("allow: %v", err)
		}
	}
	return nil
}

func (h *Handler) unmarshalQuery(d *caddyfile.Dispenser) error {
	var name string
	if err := directive.Args(d, directive.Text(&name)); err != nil {
		return err
	}
	if h.Query[name] != nil {
		return d.Errf("query %s is given twice", name)
	}
	q := new(Query)
	if err := directive.Options(d, q.option, "allow", "param", "bind"); err != nil {
		return err
	}
	if q.Source == "" || q.SQL == "" && q.URL == "" && q.Body == "" {
		return d.Errf("query %s: it needs a source, and sql, url or body", name)
	}
	if h.Query == nil {
		h.Query = make(map[string]*Query)
	}
	h.Query[name] = q
	return nil
}

func (q *Query) option(d *caddyfile.Dispenser, option string) (bool, error) {
	switch option {
	case "source":
		return true, directive.Args(d, directive.Text(&q.Source))
	case "sql":
		return true, directive.Args(d, directive.Text(&q.SQL))
	case "url":
		return true, directive.Args(d, directive.Text(&q.URL))
	case "body":
		return true, directive.Args(d, directive.Text(&q.Body))
	case "param":
		return true, q.unmarshalParam(d)
	case "watch":
		return true, q.unmarshalWatch(d)
	case "bind":
		p := stream.Param{Type: stream.TypeText}
		if err := directive.Args(d, directive.Text(&p.Name), directive.Text(&p.Bind)); err != nil {
			return true, err
		}
		if err := checkPlaceholders(p.Bind); err != nil {
			return true, d.Errf("bind %s: %v", p.Name, err)
		}
		return true, q.addParam(d, p)
	case "total":
		return true, directive.Args(d, func(value string) string {
			q.Total = stream.TotalMode(value)
			if q.Total != stream.TotalNone && q.Total != stream.TotalEstimate && q.Total != stream.TotalExact {
				return "must be none, estimate or exact"
			}
			return ""
		})
	case "int64":
		return true, directive.Args(d, int64As(&q.Int64))
	case "max_duration":
		return true, directive.Args(d, directive.Duration(&q.MaxDuration))
	case "allow":
		terms := d.RemainingArgs()
		if len(terms) == 0 {
			return true, d.ArgErr()
		}
		q.Allow = append(q.Allow, terms...)
		return true, checkTerms(d, terms)
	}
	return false, nil
}

func int64As(to *string) directive.Argument {
	return func(value string) string {
		*to = value
		if value != int64Number && value != int64String {
			return "must be number or string"
		}
		return ""
	}
}

func (q *Query) unmarshalWatch(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Err("watch: it takes a block and no arguments")
	}
	w := new(WatchOptions)
	err := directive.Options(d, func(d *caddyfile.Dispenser, option string) (bool, error) {
		switch option {
		case "key":
			w.Key = d.RemainingArgs()
			if len(w.Key) == 0 {
				return true, d.ArgErr()
			}
			return true, nil
		case "on":
			var kind, name string
			if err := directive.Args(d, directive.Text(&kind), directive.Text(&name)); err != nil {
				return true, err
			}
			switch kind {
			case "table":
				w.On = append(w.On, WatchTrigger{Table: name})
			case "channel":
				w.On = append(w.On, WatchTrigger{Channel: name})
			case "notify":
				w.On = append(w.On, WatchTrigger{Notify: name})
			default:
				return true, d.Errf("on: unknown kind %s: use table, channel or notify", kind)
			}
			return true, nil
		case "every":
			return true, directive.Args(d, directive.Duration(&w.Every))
		case "debounce":
			return true, directive.Args(d, directive.Duration(&w.Debounce))
		case "max_rows":
			return true, directive.Args(d, directive.Integer(&w.MaxRows))
		}
		return false, nil
	}, "on")
	if err != nil {
		return err
	}
	if err := w.check(); err != nil {
		return d.Err(err.Error())
	}
	q.Watch = w
	return nil
}

func (q *Query) unmarshalParam(d *caddyfile.Dispenser) error {
	var p stream.Param
	if err := directive.Args(d, directive.Text(&p.Name), directive.Text((*string)(&p.Type))); err != nil {
		return err
	}
	literal := func(to **stream.Literal) directive.Argument {
		return func(value string) string {
			l := stream.Literal(value)
			*to = &l
			return ""
		}
	}
	err := directive.Options(d, func(d *caddyfile.Dispenser, option string) (bool, error) {
		switch option {
		case "max_length":
			return true, directive.Args(d, directive.Integer(&p.MaxLength))
		case "min":
			return true, directive.Args(d, literal(&p.Min))
		case "max":
			return true, directive.Args(d, literal(&p.Max))
		case "default":
			return true, directive.Args(d, literal(&p.Default))
		case "enum":
			values := d.RemainingArgs()
			if len(values) == 0 {
				return true, d.ArgErr()
			}
			for _, value := range values {
				p.Enum = append(p.Enum, stream.Literal(value))
			}
			return true, nil
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	return q.addParam(d, p)
}

func (q *Query) addParam(d *caddyfile.Dispenser, p stream.Param) error {
	q.Param = append(q.Param, p)
	if err := stream.ValidateParams(q.Param); err != nil {
		return d.Err(err.Error())
	}
	return nil
}

func (h *Handler) unmarshalFeed(d *caddyfile.Dispenser) error {
	var name string
	if err := directive.Args(d, directive.Text(&name)); err != nil {
		return err
	}
	if h.Feed[name] != nil {
		return d.Errf("feed %s is given twice", name)
	}
	f := new(Feed)
	err := directive.Options(d, func(d *caddyfile.Dispenser, option string) (bool, error) {
		switch option {
		case "source":
			return true, directive.Args(d, directive.Text(&f.Source))
		case "sql":
			return true, directive.Args(d, directive.Text(&f.SQL))
		case "table":
			given := d.RemainingArgs()
			if len(given) < 2 {
				return true, d.Err("table: give its name and the columns that are told, such as: table public.orders id status")
			}
			f.Table, f.Columns = given[0], given[1:]
			return true, nil
		case "int64":
			return true, directive.Args(d, int64As(&f.Int64))
		case "publish":
			if err := directive.Args(d, directive.Text(&f.Publish)); err != nil {
				return true, err
			}
			if _, err := live.ParseTemplate(f.Publish); err != nil {
				return true, d.Errf("publish: %v", err)
			}
			return true, nil
		case "replay":
			return true, directive.OptionalArgs(d, 1, directive.Duration(&f.Replay), directive.Integer(&f.Rows))
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	if err := f.check(); err != nil {
		return d.Errf("feed %s: %v", name, err)
	}
	if h.Feed == nil {
		h.Feed = make(map[string]*Feed)
	}
	h.Feed[name] = f
	return nil
}
