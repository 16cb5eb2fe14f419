// Package live turns what a database holds into channel messages and keeps them coming.
package live

import (
	"errors"
	"fmt"
	"strings"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// Template makes the name of a channel out of a row: text with {row.COLUMN} for the row's values.
type Template struct {
	literals []string // one more than columns
	columns  []string
}

// ParseTemplate parses a template. Its error is for the operator.
func ParseTemplate(text string) (Template, error) {
	var t Template
	rest := text
	for {
		literal, behind, found := strings.Cut(rest, "{")
		t.literals = append(t.literals, literal)
		if !found {
			break
		}
		name, after, closed := strings.Cut(behind, "}")
		column, isRow := strings.CutPrefix(name, "row.")
		if !closed || !isRow || column == "" {
			return Template{}, fmt.Errorf("%q: only {row.COLUMN} may stand in braces", text)
		}
		t.columns = append(t.columns, column)
		rest = after
	}
	probe := t.render(func(string) string { return "x" })
	if err := checkChannel(probe); err != nil {
		return Template{}, fmt.Errorf("%q: %w", text, err)
	}
	return t, nil
}

// checkChannel tells whether rows may be published to the channel.
func checkChannel(name string) error {
	if err := protocol.CheckName(name); err != nil {
		return err
	}
	if protocol.IsReserved(name) {
		return errors.New("channels that begin with $ belong to the server")
	}
	return nil
}

// Columns are those that the template uses.
func (t Template) Columns() []string { return t.columns }

func (t Template) render(value func(column string) string) string {
	var b strings.Builder
	for i, column := range t.columns {
		b.WriteString(t.literals[i])
		b.WriteString(value(column))
	}
	b.WriteString(t.literals[len(t.columns)])
	return b.String()
}
