package neuroquantumws_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/api"
)

// schema checks values against the part of JSON Schema that the documents use. What it does not know fails.
type schema struct {
	document map[string]any
}

func (s schema) resolve(reference string) any {
	var at any = s.document
	for part := range strings.SplitSeq(strings.TrimPrefix(reference, "#/"), "/") {
		at = at.(map[string]any)[part]
	}
	if at == nil {
		panic("nothing is at " + reference)
	}
	return at
}

// check says where and why a value does not fit, empty where it does.
func (s schema) check(at string, rule map[string]any, value any) string {
	if reference, ok := rule["$ref"].(string); ok {
		return s.check(at, s.resolve(reference).(map[string]any), value)
	}
	for keyword, want := range rule {
		wrong := ""
		switch keyword {
		case "description", "default", "example", "title":
		case "type":
			if !slices.ContainsFunc(kinds(want), func(kind string) bool { return isKind(kind, value) }) {
				wrong = fmt.Sprintf("%T is no %v", value, want)
			}
		case "const":
			if value != want {
				wrong = fmt.Sprintf("%v is not %v", value, want)
			}
		case "enum":
			if !slices.Contains(want.([]any), value) {
				wrong = fmt.Sprintf("%v is none of %v", value, want)
			}
		case "oneOf":
			fits := 0
			for _, one := range want.([]any) {
				if wrong := s.check(at, one.(map[string]any), value); wrong == "" {
					fits++
				}
			}
			if fits != 1 {
				wrong = fmt.Sprintf("%v fits %d of the alternatives", value, fits)
			}
		case "properties", "required", "additionalProperties", "items", "minimum", "maximum", "minLength", "maxLength", "minItems",
			"maxItems", "format":
			wrong = s.keyword(at, keyword, rule, value)
		default:
			panic("the keyword " + keyword + " at " + at)
		}
		if wrong != "" {
			if !strings.HasPrefix(wrong, "$") {
				wrong = at + ": " + wrong
			}
			return wrong
		}
	}
	return ""
}

func kinds(want any) (out []string) {
	if one, ok := want.(string); ok {
		return []string{one}
	}
	for _, one := range want.([]any) {
		out = append(out, one.(string))
	}
	return out
}

func isKind(kind string, value any) bool {
	switch v := value.(type) {
	case nil:
		return kind == "null"
	case bool:
		return kind == "boolean"
	case string:
		return kind == "string"
	case float64:
		return kind == "number" || kind == "integer" && v == math.Trunc(v)
	case []any:
		return kind == "array"
	}
	return kind == "object"
}

func (s schema) keyword(at, keyword string, rule map[string]any, value any) string {
	number, _ := rule[keyword].(float64)
	switch v := value.(type) {
	case map[string]any:
		properties, _ := rule["properties"].(map[string]any)
		switch keyword {
		case "required":
			for _, name := range rule["required"].([]any) {
				if _, ok := v[name.(string)]; !ok {
					return fmt.Sprintf("%s is missing", name)
				}
			}
		case "properties":
			for name, property := range properties {
				if inner, ok := v[name]; ok {
					if wrong := s.check(at+"."+name, property.(map[string]any), inner); wrong != "" {
						return wrong
					}
				}
			}
		case "additionalProperties":
			for name, inner := range v {
				if properties[name] != nil {
					continue
				}
				more, allowed := rule["additionalProperties"].(map[string]any)
				if !allowed {
					return name + " is not described"
				}
				if wrong := s.check(at+"."+name, more, inner); wrong != "" {
					return wrong
				}
			}
		}
	case []any:
		switch {
		case keyword == "items":
			for i, inner := range v {
				if wrong := s.check(fmt.Sprintf("%s[%d]", at, i), rule["items"].(map[string]any), inner); wrong != "" {
					return wrong
				}
			}
		case keyword == "minItems" && len(v) < int(number), keyword == "maxItems" && len(v) > int(number):
			return fmt.Sprintf("%d items", len(v))
		}
	case float64:
		if keyword == "minimum" && v < number || keyword == "maximum" && v > number {
			return fmt.Sprintf("%v is out of range", v)
		}
	case string:
		switch {
		case keyword == "minLength" && len(v) < int(number), keyword == "maxLength" && len(v) > int(number):
			return "its length"
		case keyword == "format" && rule["format"] == "date-time":
			if _, err := time.Parse(time.RFC3339, v); err != nil || !strings.HasSuffix(v, "Z") {
				return v + " is no time in UTC"
			}
		case keyword == "format" && !uuidText.MatchString(v):
			return v + " is no UUID"
		}
	}
	return ""
}

var uuidText = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

func openAPI(t testing.TB) schema {
	t.Helper()
	text, err := os.ReadFile("docs/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var s schema
	if err := json.Unmarshal(text, &s.document); err != nil {
		t.Fatal(err)
	}
	return s
}

// operations are those of the document by METHOD path.
func (s schema) operations() map[string]map[string]any {
	all := make(map[string]map[string]any)
	for path, methods := range s.document["paths"].(map[string]any) {
		for method, operation := range methods.(map[string]any) {
			all[strings.ToUpper(method)+" "+path] = operation.(map[string]any)
		}
	}
	return all
}

// response is what the document says of an operation's answers of a status; nil where it does not know the status.
func (s schema) response(operation map[string]any, status int) map[string]any {
	r, _ := operation["responses"].(map[string]any)[fmt.Sprint(status)].(map[string]any)
	if reference, ok := r["$ref"].(string); ok {
		return s.resolve(reference).(map[string]any)
	}
	return r
}

func TestOpenAPIHasTheRoutes(t *testing.T) {
	document := openAPI(t)
	if got, want := slices.Sorted(maps.Keys(document.operations())), api.Operations(); !slices.Equal(got, want) {
		t.Errorf("the document has %v, the API %v", got, want)
	}
	// Parameters of the path are those in the path, and every reference leads somewhere.
	for name, operation := range document.operations() {
		inPath := ""
		list, _ := operation["parameters"].([]any)
		for _, p := range list {
			parameter := document.resolve(p.(map[string]any)["$ref"].(string)).(map[string]any)
			if parameter["in"] == "path" {
				inPath = "{" + parameter["name"].(string) + "}"
			}
		}
		if strings.Contains(name, "{") != (inPath != "") || !strings.Contains(name, inPath) {
			t.Errorf("%s has the parameter %q in its path", name, inPath)
		}
	}
}

// TestOpenAPIParameters: the API knows the query parameters that the document knows, and no other.
func TestOpenAPIParameters(t *testing.T) {
	document := openAPI(t)
	s := serveSite(t, apiSite+ws(apiChannels))
	for name, operation := range document.operations() {
		method, path, _ := strings.Cut(name, " ")
		path = strings.NewReplacer("{name}", "a", "{id}", "a", "{user}", "a").Replace(path)
		known := map[string]bool{}
		list, _ := operation["parameters"].([]any)
		for _, p := range list {
			parameter := document.resolve(p.(map[string]any)["$ref"].(string)).(map[string]any)
			if parameter["in"] == "query" {
				known[parameter["name"].(string)] = true
			}
		}
		for _, parameter := range []string{"pattern", "limit", "cursor", "user", "epoch", "offset", "reconnect_after_ms", "x"} {
			a := request(t, method, s.api("/rt").base+path+"?"+parameter+"=1", "", nil)
			if refused := strings.Contains(a.Text("detail"), "there is no parameter"); refused == known[parameter] {
				t.Errorf("%s: %s: %s", name, parameter, a.text)
			}
		}
	}
}

func TestOpenAPIExamples(t *testing.T) {
	document := openAPI(t)
	examples := 0
	check := func(at string, content map[string]any) {
		for kind, one := range content {
			media := one.(map[string]any)
			rule := media["schema"].(map[string]any)
			if example, ok := media["example"]; ok {
				examples++
				if wrong := document.check("$", rule, example); wrong != "" {
					t.Errorf("%s %s: %s", at, kind, wrong)
				}
			}
			several, _ := media["examples"].(map[string]any)
			for name, example := range several {
				examples++
				if wrong := document.check("$", rule, example.(map[string]any)["value"]); wrong != "" {
					t.Errorf("%s %s %s: %s", at, kind, name, wrong)
				}
			}
		}
	}
	for name, operation := range document.operations() {
		if body, ok := operation["requestBody"].(map[string]any); ok {
			check(name, body["content"].(map[string]any))
		}
		for status := range operation["responses"].(map[string]any) {
			var code int
			fmt.Sscan(status, &code)
			content, _ := document.response(operation, code)["content"].(map[string]any)
			check(name+" "+status, content)
			if content == nil && status != "204" {
				t.Errorf("%s %s has no content", name, status)
			}
		}
	}
	if examples < 30 {
		t.Errorf("only %d examples", examples)
	}
}

// TestOpenAPIAnswers holds what the API really answers against the document.
func TestOpenAPIAnswers(t *testing.T) {
	document := openAPI(t)
	s := serveSite(t, apiSite+ws(userHeader+"metadata agent {http.request.header.User-Agent}\n"+apiQuery(t)+
		"channel kept/** {\nhistory 100\npresence\n"+anyone+"\n}\nchannel plain/** {\nallow subscribe anyone\n}\n"))
	c, leaving := s.dialAs("ann"), s.dialAs("bob")
	c.Subscribe("kept/a", "plain/b")
	id := c.Welcome.Text("connection_id")
	stream := c.AskFor("query_started", M{"type": "stream_query", "query": "all", "batch_size": 1, "credits": 0}).Text("stream_id")
	seen := make(map[string]bool)
	for _, test := range []struct {
		operation, path, body string
		status                int
	}{
		{"POST /publish", "/publish", `{"channel":"kept/a","data":{"x":1},"key":"k"}`, 200},
		{"POST /publish", "/publish", `{"channel":"kept/a","data":{"x":1},"key":"k"}`, 200},
		{"POST /publish", "/publish", `[{"channel":"kept/b","data":1},{"channel":"no","data":1},{"channel":"plain/b","data":null}]`, 200},
		{"POST /publish", "/publish", `{"channel":"kept/a"}`, 400},
		{"POST /publish", "/publish", `{"channel":"no","data":1}`, 403},
		{"POST /publish", "/publish", `[` + strings.Repeat("{},", 1000) + `{}]`, 413},
		{"POST /publish", "/publish", "", 415},
		{"GET /channels", "/channels", "", 200},
		{"GET /channels", "/channels?limit=1", "", 200},
		{"GET /channels", "/channels?limit=0", "", 400},
		{"GET /channels/{name}", "/channels/kept%2Fa", "", 200},
		{"GET /channels/{name}", "/channels/plain%2Fb", "", 200},
		{"GET /channels/{name}", "/channels/nothing", "", 404},
		{"GET /channels/{name}/history", "/channels/kept%2Fa/history", "", 200},
		{"GET /channels/{name}/history", "/channels/plain%2Fa/history", "", 404},
		{"GET /channels/{name}/presence", "/channels/kept%2Fa/presence", "", 200},
		{"GET /channels/{name}/presence", "/channels/*/presence", "", 400},
		{"GET /connections", "/connections", "", 200},
		{"GET /connections/{id}", "/connections/" + id, "", 200},
		{"GET /connections/{id}", "/connections/x", "", 404},
		{"GET /streams", "/streams", "", 200},
		{"GET /stats", "/stats", "", 200},
		{"GET /health", "/health", "", 200},
		{"GET /openapi.json", "/openapi.json", "", 200},
		{"DELETE /streams/{id}", "/streams/" + stream, "", 204},
		{"DELETE /streams/{id}", "/streams/" + stream, "", 404},
		{"DELETE /users/{user}", "/users/ann", "", 200},
		{"DELETE /connections/{id}", "/connections/" + leaving.Welcome.Text("connection_id"), "", 204},
		{"DELETE /connections/{id}", "/connections/x", "", 404},
	} {
		method, _, _ := strings.Cut(test.operation, " ")
		a := request(t, method, s.api("/rt").base+test.path, test.body, nil)
		a.want(test.status)
		if test.status < 300 {
			seen[test.operation] = true
		}
		response := document.response(document.operations()[test.operation], test.status)
		if response == nil {
			t.Errorf("%s: %d is not described", test.operation, test.status)
			continue
		}
		content, _ := response["content"].(map[string]any)
		media, _ := content[a.header.Get("Content-Type")].(map[string]any)
		if media == nil {
			if content != nil || a.text != "" {
				t.Errorf("%s %d: the content type %q is not described", test.operation, test.status, a.header.Get("Content-Type"))
			}
			continue
		}
		var value any
		if err := json.Unmarshal([]byte(a.text), &value); err != nil {
			t.Fatal(err)
		}
		if wrong := document.check("$", media["schema"].(map[string]any), value); wrong != "" {
			t.Errorf("%s %s: %s\n%s", test.operation, test.path, wrong, a.text)
		}
	}
	for operation := range document.operations() {
		if !seen[operation] {
			t.Errorf("%s was not asked", operation)
		}
	}
	if a := request(t, http.MethodGet, s.api("/rt").base+"/openapi.json", "", nil); a.text != string(must(os.ReadFile("docs/openapi.json"))) {
		t.Error("another document is served")
	}
}
