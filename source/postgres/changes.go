package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// look checks, in a transaction like those of queries, that the change feed tells of a table.
func (s *Source) look(ctx context.Context, name tableName) (tableFacts, publicationFacts, error) {
	t, err := s.begin(ctx, stream.Run{})
	if err != nil {
		return tableFacts{}, publicationFacts{}, err
	}
	publication, err := lookPublication(ctx, t.conn, s.Publication)
	var facts tableFacts
	if err == nil {
		facts, err = lookTable(ctx, t.conn, s.Publication, name)
	}
	return facts, publication, errors.Join(err, t.end())
}

// lookNow does so when the configuration is loaded. known is false where the database cannot be reached, which is no error.
func (s *Source) lookNow(ctx context.Context, name tableName) (facts tableFacts, publication publicationFacts, known bool, err error) {
	if s.reader == nil {
		return facts, publication, false, errors.New("the source needs publication NAME: what PostgreSQL is to tell the changes of")
	}
	if s.down.Load() {
		return facts, publication, false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	facts, publication, err = s.look(ctx, name)
	if err != nil && unreachable(err) {
		s.down.Store(true)
		s.log.Warn("the database cannot be reached; tables are checked when it is", zap.Error(err))
		return facts, publication, false, nil
	}
	return facts, publication, err == nil, err
}

// OnTable implements stream.TableTeller: a transaction that has written to the table calls, once a query sees what it wrote.
func (s *Source) OnTable(ctx context.Context, table string) (stream.Trigger, error) {
	if s.pool == nil {
		return nil, errors.New("the PostgreSQL source is not provisioned")
	}
	name, err := parseTable(table)
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL: %w", err)
	}
	facts, publication, known, err := s.lookNow(ctx, name)
	if err == nil && known {
		name, err = facts.name, publication.complete(s.Publication)
	}
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL: %w", err)
	}
	return &tableTrigger{source: s, name: name, known: known}, nil
}

// tableTrigger is a stream.Trigger of a table.
type tableTrigger struct {
	source *Source

	mu    sync.Mutex
	name  tableName
	known bool // it has been checked
}

// Start implements stream.Trigger.
func (t *tableTrigger) Start(changed func()) (stop func()) {
	return t.source.reader.listen(&listener{table: t.check(), log: t.source.log, changed: changed, check: t.audit})
}

// audit tells whether the publication tells of all that happens to the table.
func (t *tableTrigger) audit(ctx context.Context) error {
	t.mu.Lock()
	name := t.name
	t.mu.Unlock()
	_, publication, err := t.source.look(ctx, name)
	if err != nil {
		return err
	}
	return publication.complete(t.source.Publication)
}

// check makes up for a check that was not possible when the configuration was loaded.
func (t *tableTrigger) check() tableName {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known {
		return t.name
	}
	ctx, cancel := context.WithTimeout(context.Background(), loadTimeout)
	defer cancel()
	facts, publication, err := t.source.look(ctx, t.name)
	if err == nil {
		err = publication.complete(t.source.Publication)
	}
	switch {
	case err == nil:
		t.name, t.known = facts.name, true
	case !unreachable(err):
		t.source.log.Error("a table's changes cannot be told: queries that are watched miss them",
			zap.Stringer("table", t.name), zap.Error(err))
	}
	return t.name
}

// OnChanges implements stream.ChangeTeller.
func (s *Source) OnChanges(ctx context.Context, table string, columns []string, int64Strings bool) (stream.Changes, error) {
	if s.pool == nil {
		return nil, errors.New("the PostgreSQL source is not provisioned")
	}
	name, err := parseTable(table)
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL: %w", err)
	}
	c := &changes{source: s, name: name, columns: columns, int64Strings: int64Strings}
	c.facts, _, c.known, err = s.lookNow(ctx, name)
	if err == nil && c.known {
		err = c.check(&c.facts)
	}
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL: %w", err)
	}
	return c, nil
}

// changes are those of a table, as a feed has them. They do not change.
type changes struct {
	source       *Source
	name         tableName // as it was given
	columns      []string
	int64Strings bool
	facts        tableFacts // where known, which they are not if the database could not be asked
	known        bool
}

// check refuses what cannot work, now that the table is known.
func (c *changes) check(f *tableFacts) error {
	if f.root != "" {
		return fmt.Errorf("the publication %s tells of the partition %s as %s: name that table", c.source.Publication, f.name, f.root)
	}
	for _, column := range c.columns {
		if !slices.Contains(f.columns, column) {
			return fmt.Errorf("the table %s has no column %s, or one that is computed", f.name, column)
		}
	}
	if len(f.key) == 0 {
		return fmt.Errorf("the table %s has no primary key", f.name)
	}
	for _, column := range f.key {
		if !slices.Contains(c.columns, column) {
			return fmt.Errorf("the column %s is part of the key of %s, which every message has: list it", column, f.name)
		}
	}
	if f.identity == 'n' {
		return fmt.Errorf("the table %s has no replica identity", f.name)
	}
	return nil
}

// Facts implements stream.Changes.
func (c *changes) Facts() (stream.TableFacts, bool) {
	if !c.known {
		return stream.TableFacts{}, false
	}
	f := stream.TableFacts{RowSecurity: c.facts.security, Known: make(map[string]bool)}
	for _, column := range c.columns {
		f.Known[column] = c.facts.identity == 'f' || slices.Contains(c.facts.key, column)
	}
	return f, true
}

// Same implements stream.Changes.
func (c *changes) Same(other stream.Changes) bool {
	o, ok := other.(*changes)
	return ok && c.source.reader == o.source.reader && c.name == o.name && slices.Equal(c.columns, o.columns) &&
		c.int64Strings == o.int64Strings && slices.Equal(c.source.Set, o.source.Set)
}

// Run implements stream.Changes.
func (c *changes) Run(ctx context.Context, log *zap.Logger, take func(context.Context, *stream.RowChange)) {
	log = log.With(zap.Stringer("table", c.name))
	facts := c.facts
	if !c.known {
		var ok bool
		if facts, ok = c.checkLater(ctx, log); !ok {
			return
		}
	}
	d := decoder{textEncoder: textEncoder{quoted: c.int64Strings}, columns: c.columns}
	var paused string
	look := func(ctx context.Context) error {
		_, _, err := c.source.look(ctx, facts.name)
		return err
	}
	leave := c.source.reader.listen(&listener{table: facts.name, log: log, check: look, take: func(change *change) {
		row, err := d.decode(change)
		if err != nil {
			if paused != err.Error() {
				paused = err.Error()
				log.Error("the feed is paused: changes are not published", zap.Error(err))
			}
			return
		}
		if paused != "" {
			paused = ""
			log.Warn("the feed goes on; changes made meanwhile have not been published")
		}
		take(ctx, row)
	}})
	<-ctx.Done()
	leave()
}

// checkLater makes up for a check that was not possible when the configuration was loaded. ok is false where ctx ends before.
func (c *changes) checkLater(ctx context.Context, log *zap.Logger) (facts tableFacts, ok bool) {
	told := ""
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		facts, _, err := c.source.look(ctx, c.name)
		if err == nil {
			err = c.check(&facts)
		}
		switch {
		case ctx.Err() != nil:
			return facts, false
		case err == nil:
			return facts, true
		case !unreachable(err) && told != err.Error():
			told = err.Error()
			log.Error("the feed cannot begin; trying again", zap.Error(err))
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return facts, false
		}
	}
}

var (
	_ stream.TableTeller  = (*Source)(nil)
	_ stream.ChangeTeller = (*Source)(nil)
)
