package main

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/sitetest"
)

func TestMain(m *testing.M) { sitetest.Main(m) }

// progress cuts the connections again and again while a file is being written.
type cutting struct {
	mu    sync.Mutex
	text  strings.Builder
	proxy *sitetest.Proxy
	cuts  int
}

func (c *cutting) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cuts > 0 && strings.Contains(string(p), "rows/s") {
		c.cuts -= c.proxy.Cut()
	}
	return c.text.Write(p)
}

// allRows is how many the demo has; each of its files is as long.
const allRows = 11688

func TestExport(t *testing.T) {
	site := sitetest.Demo(t, "../..")
	proxy := sitetest.NewProxy(t, site.Address)
	dir := t.TempDir()
	export := func(cuts int, name string, args ...string) string {
		t.Helper()
		log := &cutting{proxy: proxy, cuts: cuts}
		path := filepath.Join(dir, name)
		if err := run(t.Context(), append([]string{"-url", proxy.URL(), "-out", path}, args...), log); err != nil {
			t.Fatalf("%v\n%s", err, log.text.String())
		}
		return path
	}
	for _, cuts := range []int{0, 1} {
		file, err := os.Open(export(cuts, "all.csv", "-batch", "50"))
		if err != nil {
			t.Fatal(err)
		}
		records, err := csv.NewReader(file).ReadAll()
		file.Close()
		if err != nil || len(records) != allRows+1 || fmt.Sprint(records[0]) != "[id sensor value unit at]" {
			t.Fatalf("%d records, %v", len(records), err)
		}
		for i, record := range records[1:] {
			if record[0] != fmt.Sprint(i+1) || record[4] == "" {
				t.Fatalf("record %d is %v", i, record)
			}
		}
	}
	file, err := os.Open(export(0, "wind.ndjson", "-query", "readings", "-params", `{"sensor":"seattle/wind"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	n := 0
	for lines := bufio.NewScanner(file); lines.Scan(); n++ {
		var row struct{ Sensor string }
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil || row.Sensor != "seattle/wind" {
			t.Fatalf("line %d is %s", n, lines.Text())
		}
	}
	if n != 1461 {
		t.Errorf("got %d lines", n)
	}
	// What fails leaves no file.
	log := &cutting{proxy: proxy}
	for _, args := range [][]string{{"-query", "none", "-out", filepath.Join(dir, "x.csv")}, {"-out", filepath.Join(dir, "x.txt")}} {
		if err := run(t.Context(), append([]string{"-url", site.URL()}, args...), log); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("there is %v, %v", left, err)
	}
}
