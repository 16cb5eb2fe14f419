// Package console is the web page of a hub: its files and the headers they are served with. It knows nothing of Caddy, of where the page
// hangs, or of who may see it. What the page shows it asks of the API and the WebSocket that are served beside it.
//
// dist holds what `npm run build` makes of src; a check of `make test` holds both against each other.
package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"
)

//go:embed dist
var dist embed.FS

// Assets is the folder, below the page, of the files that it loads. Their names hold a hash of what is in them.
const Assets = "assets"

// index is the page itself.
const index = "index.html"

// policy lets the page load its own files and ask its own site, and nothing else; no other page may frame it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; worker-src 'self'; img-src 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

// types are the media types of the files that there are.
var types = map[string]string{
	".css":  "text/css; charset=utf-8",
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	".txt":  "text/plain; charset=utf-8",
}

type file struct {
	content    []byte
	tag        string // the value of ETag
	mediaType  string
	cacheRules string
}

// files are those of dist by their paths below it.
var files = sync.OnceValue(func() map[string]file {
	all := make(map[string]file)
	err := fs.WalkDir(dist, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := dist.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		name = strings.TrimPrefix(name, "dist/")
		f := file{content: content, tag: `"` + hex.EncodeToString(sum[:16]) + `"`, mediaType: types[path.Ext(name)], cacheRules: "no-cache"}
		if strings.HasPrefix(name, Assets+"/") {
			f.cacheRules = "max-age=31536000, immutable"
		}
		all[name] = f
		return nil
	})
	if err != nil {
		panic(err) // cannot be: what is embedded can be read
	}
	return all
})

// Protect sets the headers that every answer below the page has, whoever gives it.
func Protect(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	// No other site may load or open anything of it. The three together also give the page memory that it can share with its workers.
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Embedder-Policy", "require-corp")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// Serve answers a request for a file of the page by its path below it; the page itself has none.
func Serve(w http.ResponseWriter, r *http.Request, name string) {
	if name == "" {
		name = index
	}
	f, ok := files()[name]
	if !ok {
		Refuse(w, http.StatusNotFound, "there is nothing at this path")
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		Refuse(w, http.StatusMethodNotAllowed, "allowed here: GET, HEAD")
		return
	}
	w.Header().Set("Content-Type", f.mediaType)
	w.Header().Set("Cache-Control", f.cacheRules)
	w.Header().Set("ETag", f.tag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.content))
}

// Refuse answers with an error in plain text.
func Refuse(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, text, status)
}
