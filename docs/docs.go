// Package docs embeds the documents that the server itself serves.
package docs

import _ "embed"

// OpenAPI is the description of the HTTP API, an OpenAPI 3.1 document.
//
//go:embed openapi.json
var OpenAPI []byte
