package neuroquantumws_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/api"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/schematest"
)

func openAPI(t testing.TB) schematest.Document {
	t.Helper()
	text, err := os.ReadFile("docs/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var d schematest.Document
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// operations are those of the document by METHOD path.
func operations(document schematest.Document) map[string]map[string]any {
	all := make(map[string]map[string]any)
	for path, methods := range document["paths"].(map[string]any) {
		for method, operation := range methods.(map[string]any) {
			all[strings.ToUpper(method)+" "+path] = operation.(map[string]any)
		}
	}
	return all
}

// response is what the document says of an operation's answers of a status; nil where it does not know the status.
func responseOf(document schematest.Document, operation map[string]any, status int) map[string]any {
	r, _ := operation["responses"].(map[string]any)[fmt.Sprint(status)].(map[string]any)
	if reference, ok := r["$ref"].(string); ok {
		return document.Resolve(reference).(map[string]any)
	}
	return r
}

func TestOpenAPIHasTheRoutes(t *testing.T) {
	document := openAPI(t)
	if got, want := slices.Sorted(maps.Keys(operations(document))), api.Operations(); !slices.Equal(got, want) {
		t.Errorf("the document has %v, the API %v", got, want)
	}
	// Parameters of the path are those in the path, and every reference leads somewhere.
	for name, operation := range operations(document) {
		inPath := ""
		list, _ := operation["parameters"].([]any)
		for _, p := range list {
			parameter := document.Resolve(p.(map[string]any)["$ref"].(string)).(map[string]any)
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
	for name, operation := range operations(document) {
		method, path, _ := strings.Cut(name, " ")
		path = strings.NewReplacer("{name}", "a", "{id}", "a", "{user}", "a").Replace(path)
		known := map[string]bool{}
		list, _ := operation["parameters"].([]any)
		for _, p := range list {
			parameter := document.Resolve(p.(map[string]any)["$ref"].(string)).(map[string]any)
			if parameter["in"] == "query" {
				known[parameter["name"].(string)] = true
			}
		}
		for _, parameter := range []string{"pattern", "limit", "cursor", "user", "id", "epoch", "offset", "reconnect_after_ms", "x"} {
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
				if wrong := document.Check("$", rule, example); wrong != "" {
					t.Errorf("%s %s: %s", at, kind, wrong)
				}
			}
			several, _ := media["examples"].(map[string]any)
			for name, example := range several {
				examples++
				if wrong := document.Check("$", rule, example.(map[string]any)["value"]); wrong != "" {
					t.Errorf("%s %s %s: %s", at, kind, name, wrong)
				}
			}
		}
	}
	for name, operation := range operations(document) {
		if body, ok := operation["requestBody"].(map[string]any); ok {
			check(name, body["content"].(map[string]any))
		}
		for status := range operation["responses"].(map[string]any) {
			var code int
			fmt.Sscan(status, &code)
			content, _ := responseOf(document, operation, code)["content"].(map[string]any)
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
		"query watched {\nsource demo\nsql `select id from readings where id < @below`\nparam below integer {\nmin 1\ndefault 3\n}\n"+
		"allow anyone\nwatch {\nkey id\nevery 1h\n}\n}\n"+
		"channel kept/** {\nhistory 100\npresence\n"+anyone+"\n}\nchannel plain/** {\nallow subscribe anyone\n}\n"))
	c, leaving := s.dialAs("ann"), s.dialAs("bob")
	c.Subscribe("kept/a", "plain/b")
	id := c.Welcome.Text("connection_id")
	stream := c.AskFor("query_started", M{"type": "stream_query", "query": "all", "batch_size": 1, "credits": 0}).Text("stream_id")
	c.AskFor("query_started", M{"type": "watch", "query": "watched"})
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
		{"GET /queries", "/queries", "", 200},
		{"GET /queries", "/queries?limit=0", "", 400},
		{"POST /tickets", "/tickets", `{"user":"ann"}`, 201},
		{"POST /tickets", "/tickets", `{}`, 400},
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
		response := responseOf(document, operations(document)[test.operation], test.status)
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
		if wrong := document.Check("$", media["schema"].(map[string]any), value); wrong != "" {
			t.Errorf("%s %s: %s\n%s", test.operation, test.path, wrong, a.text)
		}
	}
	for operation := range operations(document) {
		if !seen[operation] {
			t.Errorf("%s was not asked", operation)
		}
	}
	if a := request(t, http.MethodGet, s.api("/rt").base+"/openapi.json", "", nil); a.text != string(must(os.ReadFile("docs/openapi.json"))) {
		t.Error("another document is served")
	}
}
