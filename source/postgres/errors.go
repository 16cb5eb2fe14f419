package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// errorDB is an error of the database, with the kind of it for those who read the log. Clients never see it.
type errorDB struct {
	kind  string
	cause error
}

func (e *errorDB) Error() string { return "PostgreSQL, " + e.kind + ": " + e.cause.Error() }

func (e *errorDB) Unwrap() error { return e.cause }

// kinds names the classes of SQLSTATE, the longer prefix before the shorter.
var kinds = []struct{ prefix, kind string }{
	{"42501", "permission denied"},
	{"57014", "timeout or cancel by the database"},
	{"57P05", "connection lost"},
	{"57P0", "the server stops or starts"},
	{"25006", "the statement would write"},
	{"25P", "transaction"},
	{"08", "connection lost"},
	{"22", "data"},
	{"28", "login refused"},
	{"3D", "no such database"},
	{"40", "serialization"},
	{"42", "syntax or names"},
	{"53", "resources"},
	{"54", "limit"},
	{"55", "lock or state"},
	{"58", "system"},
	{"XX", "internal"},
}

func kindOf(err error) string {
	var pg *pgconn.PgError
	var connect *pgconn.ConnectError
	var network net.Error
	switch {
	case errors.As(err, &pg):
		for _, k := range kinds {
			if strings.HasPrefix(pg.Code, k.prefix) {
				return k.kind
			}
		}
		return "error"
	case errors.As(err, &connect):
		return "no connection"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, pgconn.ErrConnClosed), errors.As(err, &network):
		return "connection lost"
	}
	return "error"
}

// failure makes an error of the driver one of the query: its context's cause where that has ended, else classified.
func failure(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var classified *errorDB
	if errors.As(err, &classified) {
		return err
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) && (pg.Detail != "" || pg.Hint != "") {
		err = fmt.Errorf("%w (%s)", err, strings.TrimSpace(pg.Detail+" "+pg.Hint))
	}
	return &errorDB{kindOf(err), err}
}

var portalParameter = regexp.MustCompile(`(?m)^(?:unnamed portal|portal "[^"]*") parameter \$(\d+)`)

// parameterOf is the placeholder, from 0 on, whose value the database could not read, -1 where err is about something else. A
// database whose messages are not in English does not say it.
func parameterOf(err error) int {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return -1
	}
	found := portalParameter.FindStringSubmatch(pg.Where)
	if found == nil {
		return -1
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		return -1
	}
	return n - 1
}

// unreachable reports whether err says nothing of the statement or the options, only that the database is not there at the moment.
func unreachable(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		for _, prefix := range []string{"08", "53", "57P"} {
			if strings.HasPrefix(pg.Code, prefix) {
				return true
			}
		}
		return false
	}
	switch kindOf(err) {
	case "no connection", "connection lost":
		return true
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errBusy)
}
