package live

import (
	"slices"
	"strings"
	"testing"
)

func TestTemplate(t *testing.T) {
	values := map[string]string{"sensor": "kitchen", "a b": "x", "": "?"}
	tests := []struct {
		text    string
		columns []string
		want    string // rendered; empty where the template is refused
	}{
		{text: "fixed", want: "fixed"},
		{text: "sensors/{row.sensor}", columns: []string{"sensor"}, want: "sensors/kitchen"},
		{text: "{row.sensor}", columns: []string{"sensor"}, want: "kitchen"},
		{text: "{row.sensor}.{row.a b}.{row.sensor}", columns: []string{"sensor", "a b", "sensor"}, want: "kitchen.x.kitchen"},
		{text: "{row.sensor}{row.sensor}", columns: []string{"sensor", "sensor"}, want: "kitchenkitchen"},
		{text: "pre{row.sensor}post", columns: []string{"sensor"}, want: "prekitchenpost"},
		{text: "a/$b", want: "a/$b"},

		{text: ""},
		{text: "{row.}"},
		{text: "{}"},
		{text: "{sensor}"},
		{text: "{http.request.host}"},
		{text: "{row.sensor"},
		{text: "a/{"},
		{text: "{ row.sensor}"},
		{text: "a b"},
		{text: "a//{row.sensor}"},
		{text: "/{row.sensor}"},
		{text: "{row.sensor}/"},
		{text: "sensors/*"},
		{text: "sensors/{row.sensor}*"},
		{text: "$sys/{row.sensor}"},
		{text: strings.Repeat("a/", 16) + "{row.sensor}"},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			template, err := ParseTemplate(tt.text)
			if (err == nil) != (tt.want != "") {
				t.Fatal(err)
			}
			if err != nil {
				return
			}
			if !slices.Equal(template.Columns(), tt.columns) {
				t.Errorf("columns %q, want %q", template.Columns(), tt.columns)
			}
			if got := template.render(func(column string) string { return values[column] }); got != tt.want {
				t.Errorf("rendered %q, want %q", got, tt.want)
			}
		})
	}
}
