package neuroquantumws_test

import (
	"github.com/neuroquantumdb/neuroquantum-ws/internal/instance"

	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var (
	metricName = regexp.MustCompile(metricsPrefix + `\w+`)
	// selector is a metric with what stands in its braces.
	selector = regexp.MustCompile(`(` + metricsPrefix + `\w+)\{([^}]*)\}`)
	label    = regexp.MustCompile(`(\w+) *(?:=~|!~|!=|=) *"`)
)

// checkExpression finds metrics and labels in PromQL that do not exist, and gives the metrics that do.
func checkExpression(t testing.TB, at, expression string) (used []string) {
	t.Helper()
	known := instance.Metrics()
	base := func(name string) string {
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if plain := strings.TrimSuffix(name, suffix); known[plain] != nil {
				return plain
			}
		}
		return name
	}
	for _, name := range metricName.FindAllString(expression, -1) {
		if known[base(name)] == nil {
			t.Errorf("%s: there is no metric %s", at, name)
		}
		used = append(used, base(name))
	}
	if len(used) == 0 {
		t.Errorf("%s: %s names no metric", at, expression)
	}
	for _, found := range selector.FindAllStringSubmatch(expression, -1) {
		for _, one := range label.FindAllStringSubmatch(found[2], -1) {
			if !slices.Contains(known[base(found[1])], one[1]) {
				t.Errorf("%s: %s has no label %s", at, found[1], one[1])
			}
		}
	}
	if strings.Count(expression, "(") != strings.Count(expression, ")") || strings.Count(expression, "{") != strings.Count(expression, "}") {
		t.Errorf("%s: the brackets of %s", at, expression)
	}
	return used
}

// TestDashboardNamesMetrics: the dashboard shows what is told, all of it.
func TestDashboardNamesMetrics(t *testing.T) {
	var dashboard struct {
		Panels []struct {
			ID      int
			Title   string
			Type    string
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal(must(os.ReadFile("docs/grafana.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	shown, ids := make(map[string]bool), make(map[int]bool)
	for _, panel := range dashboard.Panels {
		if ids[panel.ID] {
			t.Errorf("the panel id %d stands twice", panel.ID)
		}
		ids[panel.ID] = true
		if panel.Type != "row" && len(panel.Targets) == 0 {
			t.Errorf("%s shows nothing", panel.Title)
		}
		for _, target := range panel.Targets {
			for _, name := range checkExpression(t, panel.Title, target.Expr) {
				shown[name] = true
			}
		}
	}
	for name := range instance.Metrics() {
		if !shown[name] && name != metricsPrefix+"queue_messages" && name != metricsPrefix+"history_channels" {
			t.Errorf("the dashboard does not show %s", name)
		}
	}
}

func TestAlertsNameMetrics(t *testing.T) {
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For string
				Labels           map[string]string
				Annotations      map[string]string
			}
		}
	}
	decoder := yaml.NewDecoder(strings.NewReader(string(must(os.ReadFile("docs/alerts.yaml")))))
	decoder.KnownFields(true)
	if err := decoder.Decode(&rules); err != nil {
		t.Fatal(err)
	}
	operations := string(must(os.ReadFile("docs/operations.md")))
	seen := make(map[string]bool)
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			if rule.Alert == "" || seen[rule.Alert] || rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" {
				t.Errorf("%+v", rule)
			}
			seen[rule.Alert] = true
			checkExpression(t, rule.Alert, rule.Expr)
			if !strings.Contains(operations, "`"+rule.Alert+"`") {
				t.Errorf("docs/operations.md does not say what %s means", rule.Alert)
			}
		}
	}
	if len(seen) < 10 {
		t.Errorf("only %d alerts", len(seen))
	}
}

// TestMetricsAreDescribed: docs/operations.md names every metric with its labels, and no other.
func TestMetricsAreDescribed(t *testing.T) {
	operations := string(must(os.ReadFile("docs/operations.md")))
	known := instance.Metrics()
	for name, labels := range known {
		row := "| `" + strings.TrimPrefix(name, metricsPrefix) + "` |"
		at := strings.Index(operations, row)
		if at < 0 {
			t.Errorf("docs/operations.md does not name %s", name)
			continue
		}
		line, _, _ := strings.Cut(operations[at:], "\n")
		for _, label := range labels {
			if label != "hub" && !strings.Contains(line, "`"+label+"`") {
				t.Errorf("docs/operations.md does not say that %s has the label %s", name, label)
			}
		}
	}
	for _, name := range metricName.FindAllString(operations, -1) {
		if known[name] == nil {
			t.Errorf("docs/operations.md names %s; there are %v", name, slices.Sorted(maps.Keys(known)))
		}
	}
}
