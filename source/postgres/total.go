package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// countBudget is how long counting the rows may take. Beyond it the number stays unknown.
const countBudget = 30 * time.Second

// findTotal finds out how many rows there will be.
func (r *rows) findTotal(oids []uint32, run stream.Run) (err error) {
	switch run.Total {
	case stream.TotalEstimate:
		if r.total, err = r.estimate(oids); err == nil {
			r.kind = stream.KindEstimate
		}
	case stream.TotalExact:
		err = r.count(oids, run)
	}
	return err
}

// estimate asks the database's planner.
func (r *rows) estimate(oids []uint32) (int64, error) {
	text := "explain (format json)\n" + r.statement.text
	result := r.tx.conn.ExecParams(r.ctx, text, r.args, oids, nil, nil).Read()
	if result.Err != nil {
		return 0, result.Err
	}
	var plans []struct {
		Plan struct {
			Rows float64 `json:"Plan Rows"`
		}
	}
	if len(result.Rows) == 0 {
		return 0, errors.New("the plan is empty")
	}
	if err := json.Unmarshal(result.Rows[0][0], &plans); err != nil || len(plans) == 0 {
		return 0, fmt.Errorf("reading the plan: %w", err)
	}
	return int64(min(plans[0].Plan.Rows, 1<<53)), nil
}

// count counts the rows, in the state of the database that they will be read in. Where that takes too long the query goes on without.
func (r *rows) count(oids []uint32, run stream.Run) error {
	c := r.tx.conn
	ctx, cancel := context.WithTimeout(r.ctx, r.statement.source.budget)
	defer cancel()
	// The line breaks end a comment at the end of the text.
	result := c.ExecParams(ctx, "select pg_catalog.count(*) from (\n"+r.statement.text+"\n) as counted", r.args, oids, nil, nil).Read()
	switch {
	case result.Err == nil:
		n, err := strconv.ParseInt(string(result.Rows[0][0]), 10, 64)
		r.total, r.kind = n, stream.KindExact
		return err
	case ctx.Err() == nil || r.ctx.Err() != nil || c.IsClosed():
		return result.Err
	}
	if _, err := c.Exec(r.ctx, "rollback").ReadAll(); err != nil {
		return err
	}
	return r.statement.source.open(r.ctx, c, run)
}
