// Command orders makes the database of the live table and goes on changing it, as a shop would.
//
//	go run ./examples/live-table/orders
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite"
)

const schema = `
pragma journal_mode = wal;
create table if not exists orders (
	id       integer primary key,
	customer text not null,
	item     text not null,
	total    real not null,
	status   text not null -- new, paid, packed or sent
);`

// insert adds an order of a customer and an item that chance chooses.
const insert = `insert into orders (customer, item, total, status) values (?, ?, ?, 'new')`

// advance takes one order, by chance, a step further.
const advance = `
update orders set status = case status when 'new' then 'paid' when 'paid' then 'packed' else 'sent' end
where id = (select id from orders where status <> 'sent' order by random() limit 1)`

// archive removes the oldest order that was sent, or the oldest of all where none was.
const archive = `delete from orders where id = (select id from orders order by status <> 'sent', id limit 1)`

var (
	customers = []string{"Ada", "Barbara", "Edsger", "Frances", "Grace", "Ken", "Radia", "Tony"}
	items     = []string{"lamp", "chair", "desk", "rug", "clock", "shelf", "mirror", "kettle"}
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("orders: ")
	path := flag.String("file", filepath.Join("examples", "live-table", "orders.db"), "the database, made where there is none")
	every := flag.Duration("every", 400*time.Millisecond, "time between two changes")
	changes := flag.Int("changes", 0, "stop after so many changes; 0: when interrupted")
	rows := flag.Int("rows", 12, "about how many orders there are")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *path, *every, *changes, *rows); err != nil && !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
}

// run makes the table at path and changes it: so many times, or where that is 0 until ctx is done.
func run(ctx context.Context, path string, every time.Duration, changes, rows int) error {
	db, err := sql.Open("sqlite", path)
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return fmt.Errorf("making the table: %w", err)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := 0; changes == 0 || n < changes; n++ {
		if err := change(ctx, db, rows); err != nil {
			return fmt.Errorf("changing an order: %w", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// change does one thing to the orders, so that there stay about as many as rows.
func change(ctx context.Context, db *sql.DB, rows int) error {
	var count int
	if err := db.QueryRowContext(ctx, `select count(*) from orders`).Scan(&count); err != nil {
		return err
	}
	var err error
	switch chance := rand.IntN(20); {
	case count < rows/2 || count < rows+2 && chance < 6:
		total := float64(rand.IntN(40_000)+500) / 100
		_, err = db.ExecContext(ctx, insert, pick(customers), pick(items), total)
	case count > rows+2 || count > rows-2 && chance < 11:
		_, err = db.ExecContext(ctx, archive)
	default:
		_, err = db.ExecContext(ctx, advance)
	}
	return err
}

func pick(from []string) string { return from[rand.IntN(len(from))] }
