// Package pgtest starts a PostgreSQL server for the tests of a package and for benchmarks: an empty one, in a temporary folder, on a
// Unix socket. A server that is not installed fails them.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"

	"github.com/jackc/pgx/v5/pgconn"
)

// Server is a running server with the superuser postgres, who needs no password.
type Server struct {
	folder, bin string
	port        int // in the name of the socket; 0 is the standard one
	settings    []string
	cmd         *exec.Cmd
}

// Start starts a server, with these settings, such as wal_level=replica, beside those of all tests. It must be stopped.
func Start(settings ...string) (*Server, error) { return start(0, settings, nil) }

// start starts a server with more settings, for which ready has readied its folder.
func start(port int, settings []string, ready func(folder string) (settings []string, err error)) (*Server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	// Not in t.TempDir: the server's user may not pass the folders above that.
	folder, err := os.MkdirTemp("", "pgtest")
	if err != nil {
		return nil, err
	}
	s := &Server{folder: folder, bin: bin, port: port, settings: settings}
	if ready != nil {
		if s.settings, err = ready(folder); err != nil {
			os.RemoveAll(folder)
			return nil, err
		}
	}
	if err := s.initialize(); err != nil {
		os.RemoveAll(folder)
		return nil, fmt.Errorf("starting PostgreSQL: %w", err)
	}
	return s, nil
}

// binaries finds the newest server that is installed.
func binaries() (string, error) {
	// The pattern is a constant, and a good one.
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) == 0 {
		path, err := exec.LookPath("postgres")
		if err != nil {
			return "", errors.New("there is no PostgreSQL server: `make postgres` installs one")
		}
		found = []string{path}
	}
	slices.Sort(found)
	return filepath.Dir(found[len(found)-1]), nil
}

func (s *Server) data() string { return filepath.Join(s.folder, "data") }

// initialize makes a database and starts the server.
func (s *Server) initialize() error {
	attributes, err := s.serverUser()
	if err != nil {
		return err
	}
	initdb := exec.Command(filepath.Join(s.bin, "initdb"), "-D", s.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
	initdb.Dir, initdb.SysProcAttr = s.folder, attributes
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return s.Run()
}

// Run starts a server that Halt has ended.
func (s *Server) Run() error {
	attributes, err := s.serverUser()
	if err != nil {
		return err
	}
	args := []string{"-D", s.data(), "-k", s.folder, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "wal_level=logical"}
	for _, setting := range s.settings {
		args = append(args, "-c", setting)
	}
	s.cmd = exec.Command(filepath.Join(s.bin, "postgres"), args...)
	s.cmd.Dir, s.cmd.SysProcAttr = s.folder, attributes
	// A file, so that no goroutine of ours has to copy it.
	log, err := os.Create(filepath.Join(s.folder, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	if err := s.await(); err != nil {
		s.kill()
		text, _ := os.ReadFile(log.Name()) // without it the error must do
		return fmt.Errorf("%w\n%s", err, text)
	}
	return nil
}

// serverUser gives the folder to who the server runs as: not root, whom PostgreSQL refuses.
func (s *Server) serverUser() (*syscall.SysProcAttr, error) {
	// Where the tests are killed, the server ends too.
	attributes := &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}
	uid, gid, err := serverIDs()
	if err != nil {
		return nil, err
	}
	if os.Getuid() == 0 {
		attributes.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	return attributes, os.Chown(s.folder, uid, gid)
}

// serverIDs are those that the server runs under: ours, or where that is root's those of the user postgres.
func serverIDs() (uid, gid int, err error) {
	if os.Getuid() != 0 {
		return os.Getuid(), os.Getgid(), nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return 0, 0, err
	}
	if uid, err = strconv.Atoi(u.Uid); err != nil {
		return 0, 0, err
	}
	gid, err = strconv.Atoi(u.Gid)
	return uid, gid, err
}

// await waits until the server answers.
func (s *Server) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), wait.Limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := pgconn.Connect(ctx, s.DSN())
		if err == nil {
			return c.Close(ctx)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// DSN is the connection string of the superuser.
func (s *Server) DSN() string {
	dsn := "host=" + s.folder + " user=postgres dbname=postgres"
	if s.port != 0 {
		dsn += " port=" + strconv.Itoa(s.port)
	}
	return dsn
}

// Halt ends the server as a crash would, with all its connections; what was committed stays.
func (s *Server) Halt() { s.kill() }

// Stop ends the server, with all its connections, and removes its folder.
func (s *Server) Stop() {
	s.kill()
	os.RemoveAll(s.folder)
}

func (s *Server) kill() {
	// Immediate shutdown: nothing of it is needed any more.
	_ = s.cmd.Process.Signal(syscall.SIGQUIT)
	_ = s.cmd.Wait()
}

// Exec runs statements as the superuser and gives the rows of the last as text, NULL as empty.
func (s *Server) Exec(ctx context.Context, script string) ([][]string, error) {
	c, err := pgconn.Connect(ctx, s.DSN())
	if err != nil {
		return nil, err
	}
	defer c.Close(context.WithoutCancel(ctx))
	results, err := c.Exec(ctx, script).ReadAll()
	if err != nil || len(results) == 0 {
		return nil, err
	}
	var rows [][]string
	for _, row := range results[len(results)-1].Rows {
		values := make([]string, len(row))
		for i, v := range row {
			values[i] = string(v)
		}
		rows = append(rows, values)
	}
	return rows, nil
}

// Until waits until a query returns one row with one value.
func (s *Server) Until(t testing.TB, query, want string) {
	t.Helper()
	wait.Until(t, query+" returns "+want, func() bool {
		rows, err := s.Exec(t.Context(), query)
		return err == nil && len(rows) == 1 && rows[0][0] == want
	})
}
