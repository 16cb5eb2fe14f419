package stream

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// ChangeTeller is a Source that can tell what becomes of the rows of its tables.
type ChangeTeller interface {
	// OnChanges gives the Changes of a table, of which only these columns are told; its error is for the operator.
	OnChanges(ctx context.Context, table string, columns []string, int64Strings bool) (Changes, error)
}

// Changes are those of a table.
type Changes interface {
	// Run calls take for each change that is committed from then on, in the order of the commits, until ctx ends. take may wait, which
	// holds up all that follows in the database's own log. What cannot be told, because the connection was lost, goes to log.
	Run(ctx context.Context, log *zap.Logger, take func(ctx context.Context, change *RowChange))
	// Same tells whether the other gives the same changes of the same table of the same database, so that a Run of that need not end
	// for one of this.
	Same(other Changes) bool
	// Facts are what is known of the table; ok is false where the database could not be asked.
	Facts() (facts TableFacts, ok bool)
}

// TableFacts are what an operator may have to be warned of.
type TableFacts struct {
	RowSecurity bool            // it has row-level security, which changes do not heed
	Known       map[string]bool // the columns whose old values come with every update and delete
}

// RowChange is what became of a row. It is valid until the call that it was given to returns.
type RowChange struct {
	Op string // protocol.OpInsert, OpUpdate, OpDelete or OpTruncate
	// Key is the row's key as JSON, an array where it has several columns; nil for all rows. OldKey is what it was before an update that
	// changed it; else nil.
	Key, OldKey []byte
	// New and Old are the row's values behind and before the change as JSON, by their columns. One that is not known is nil: of Old often
	// all but the key's, of New what is large and was left as it is.
	New, Old [][]byte
}

// FeedReader is a Source that reads its database's own log of changes, for all Triggers and Changes of its tables.
type FeedReader interface {
	// ChangeFeed tells how that goes; ok is false where it is not configured.
	ChangeFeed() (stats FeedStats, ok bool)
}

// FeedStats say how the reading of a database's log of changes goes. Totals are those of the process.
type FeedStats struct {
	Wanted        bool          // somebody listens; else it is not read
	Up            bool          // it is being read
	Transactions  uint64        // read, of whatever tables
	Changes       uint64        // to rows of tables that somebody listens to
	Interruptions uint64        // times that the connection was lost, or could not be made
	Delay         time.Duration // from the newest transaction's commit until the database sent it, by its own clock; 0 when nothing waits
	Lost          int           // tables that are listened to and not told of
}
