// Package schematest checks values against the part of JSON Schema that the documents of this project use, for tests. A keyword that it
// does not know is a fault of the test: it panics.
package schematest

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Document is a document with schemas in it.
type Document map[string]any

// Resolve gives what a $ref of the document leads to; it must be there.
func (d Document) Resolve(reference string) any {
	var at any = map[string]any(d)
	for part := range strings.SplitSeq(strings.TrimPrefix(reference, "#/"), "/") {
		at = at.(map[string]any)[part]
	}
	if at == nil {
		panic("nothing is at " + reference)
	}
	return at
}

// Check says where and why a value does not fit, empty where it does.
func (d Document) Check(at string, rule map[string]any, value any) string {
	if reference, ok := rule["$ref"].(string); ok {
		return d.Check(at, d.Resolve(reference).(map[string]any), value)
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
				if wrong := d.Check(at, one.(map[string]any), value); wrong == "" {
					fits++
				}
			}
			if fits != 1 {
				wrong = fmt.Sprintf("%v fits %d of the alternatives", value, fits)
			}
		case "properties", "required", "additionalProperties", "items", "minimum", "maximum", "minLength", "maxLength", "minItems",
			"maxItems", "format":
			wrong = d.keyword(at, keyword, rule, value)
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

func (d Document) keyword(at, keyword string, rule map[string]any, value any) string {
	switch v := value.(type) {
	case map[string]any:
		return d.object(at, keyword, rule, v)
	case []any:
		return d.array(at, keyword, rule, v)
	case float64:
		bound, _ := rule[keyword].(float64)
		if keyword == "minimum" && v < bound || keyword == "maximum" && v > bound {
			return fmt.Sprintf("%v is out of range", v)
		}
	case string:
		return text(keyword, rule, v)
	}
	return ""
}

func (d Document) object(at, keyword string, rule, v map[string]any) string {
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
				if wrong := d.Check(at+"."+name, property.(map[string]any), inner); wrong != "" {
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
			if wrong := d.Check(at+"."+name, more, inner); wrong != "" {
				return wrong
			}
		}
	}
	return ""
}

func (d Document) array(at, keyword string, rule map[string]any, v []any) string {
	bound, _ := rule[keyword].(float64)
	switch {
	case keyword == "items":
		for i, inner := range v {
			if wrong := d.Check(fmt.Sprintf("%s[%d]", at, i), rule["items"].(map[string]any), inner); wrong != "" {
				return wrong
			}
		}
	case keyword == "minItems" && len(v) < int(bound), keyword == "maxItems" && len(v) > int(bound):
		return fmt.Sprintf("%d items", len(v))
	}
	return ""
}

func text(keyword string, rule map[string]any, v string) string {
	bound, _ := rule[keyword].(float64)
	switch {
	case keyword == "minLength" && utf8.RuneCountInString(v) < int(bound), keyword == "maxLength" && utf8.RuneCountInString(v) > int(bound):
		return fmt.Sprintf("%d characters", utf8.RuneCountInString(v))
	case keyword == "format" && rule["format"] == "date-time":
		if _, err := time.Parse(time.RFC3339, v); err != nil || !strings.HasSuffix(v, "Z") {
			return v + " is no time in UTC"
		}
	case keyword == "format" && !uuidText.MatchString(v):
		return v + " is no UUID"
	}
	return ""
}

var uuidText = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
