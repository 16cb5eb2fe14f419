package main

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

func init() {
	caddy.RegisterModule(memorySource{})
}

// memorySource makes rows out of nothing, so that a stream of them costs what the streams themselves cost. Its queries take two
// integers: the number of rows, and how long a row's text is at least.
type memorySource struct{}

// CaddyModule returns the Caddy module information.
func (memorySource) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.neuroquantum_ws.sources.bench_memory",
		New: func() caddy.Module { return new(memorySource) },
	}
}

// UnmarshalCaddyfile takes no options.
func (memorySource) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() || d.NextBlock(d.Nesting()) {
		return d.ArgErr()
	}
	return nil
}

// Prepare implements stream.Source.
func (memorySource) Prepare(_ context.Context, _ stream.Text, params []stream.Param) (stream.Statement, error) {
	if len(params) != 2 || params[0].Type != stream.TypeInteger || params[1].Type != stream.TypeInteger {
		return nil, errors.New("a query from memory takes two integers")
	}
	return memoryStatement{}, nil
}

type memoryStatement struct{}

// Query implements stream.Statement.
func (memoryStatement) Query(_ context.Context, run stream.Run) (stream.Rows, error) {
	n, width := run.Args[0].Integer, int(run.Args[1].Integer)
	return &memoryRows{rows: n, sensor: sensor + strings.Repeat(".", max(0, width-len(sensor)))}, nil
}

// memoryRows never waits, so that whoever asks for rows notices a cancelled context soon enough.
type memoryRows struct {
	rows   int64
	id     int64 // of the current row
	sensor string
}

func (r *memoryRows) Columns() []stream.Column {
	all := make([]stream.Column, len(columnNames))
	for i, name := range columnNames {
		all[i].Name = name
	}
	return all
}

func (r *memoryRows) Total() (int64, stream.TotalKind) { return 0, stream.KindUnknown }

func (r *memoryRows) Next() bool {
	if r.id == r.rows {
		return false
	}
	r.id++
	return true
}

func (r *memoryRows) AppendValue(dst []byte, i int) []byte {
	switch i {
	case 0:
		return strconv.AppendInt(dst, r.id, 10)
	case 1:
		return stream.AppendText(dst, r.sensor)
	case 2:
		return stream.AppendFloat(dst, valueOf(r.id), 64)
	case 3:
		return stream.AppendText(dst, status)
	default:
		return stream.AppendText(dst, readAt)
	}
}

func (r *memoryRows) Err() error { return nil }

func (r *memoryRows) Close() error { return nil }

var (
	_ caddyfile.Unmarshaler = memorySource{}
	_ stream.Source         = memorySource{}
	_ stream.Rows           = (*memoryRows)(nil)
)
