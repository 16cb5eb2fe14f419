package access

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// minRSABits is the shortest RSA key that is taken (RFC 7518, section 3.3).
const minRSABits = 2048

// key is one that the configuration gives.
type key struct{ value any } // []byte, *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey

// Keyfunc implements Keys.
func (k key) Keyfunc(context.Context) jwt.Keyfunc {
	return func(*jwt.Token) (any, error) { return k.value, nil }
}

// ParseKey reads a key of the configuration. It returns the algorithms that the key is used with: those given, otherwise the default of its
// kind.
//
// For HMAC the key is the text itself. For all others it is a public key or a certificate: in PEM, in base64, or the path of a file that
// holds one. The marks `file:PATH`, `base64:TEXT` and `secret:TEXT` say what the text is. Without a mark, a text that looks like a path
// is never taken for a secret: the file may be missing only because of a typing error, and its path is no secret. A secret must be at
// least as long as the hash of its algorithms (RFC 7518, section 3.2).
//
// The error is for the operator and never quotes the key.
func ParseKey(text string, names []string) (k Keys, algorithms []string, err error) {
	symmetric, err := family(names)
	if err != nil {
		return nil, nil, err
	}
	content, marked, err := keyContent(text)
	if err != nil {
		return nil, nil, err
	}
	secret := symmetric || len(names) == 0 // unless it is a public key
	content, public, err := readPublicKey(text, content, marked, secret)
	isPEM := bytes.Contains(content, []byte("-----BEGIN"))
	switch {
	case errors.Is(err, errKeyFile):
		return nil, nil, err
	case len(bytes.TrimSpace(content)) == 0:
		return nil, nil, errors.New("the key is empty")
	case err == nil && symmetric, isPEM && symmetric:
		return nil, nil, errors.New("an HMAC algorithm needs a secret, not a public key or certificate")
	case err == nil && len(names) == 0 && marked && !isPEM:
		return nil, nil, errors.New("the key is a public key: name its algorithms")
	case err != nil && (isPEM || marked && !secret):
		return nil, nil, err
	case err != nil && !marked && looksLikePath(text):
		return nil, nil, errors.New("the key looks like the path of a file, and there is no such file: " +
			"correct the path, or write secret: before a secret")
	case err != nil && secret:
		return secretKey(content, names)
	case err != nil:
		return nil, nil, err
	}
	return publicKeyFor(public, names)
}

// publicKeyFor is a public key for these algorithms, or for the default of its kind.
func publicKeyFor(public any, names []string) (Keys, []string, error) {
	if len(names) == 0 {
		names = []string{usual(public)}
	}
	for _, name := range names {
		if _, err := fitting(name, public); err != nil {
			return nil, nil, fmt.Errorf("the key does not fit the algorithm %s", name)
		}
	}
	return key{public}, names, nil
}

// errKeyFile says that a file whose path is given does not hold a public key.
var errKeyFile = errors.New("the key is the name of a file")

// readPublicKey reads a public key from the content, or from the file that an unmarked text names, whose content it returns then.
func readPublicKey(text string, content []byte, marked, secret bool) ([]byte, any, error) {
	isPEM := bytes.Contains(content, []byte("-----BEGIN"))
	public, err := publicKey(content, isPEM)
	if err == nil || isPEM || marked || !isFile(text) {
		return content, public, err
	}
	if content, err = os.ReadFile(text); err != nil {
		return nil, nil, fmt.Errorf("%w, which cannot be read: %w", errKeyFile, withoutPath(err))
	}
	isPEM = bytes.Contains(content, []byte("-----BEGIN"))
	if public, err = publicKey(content, isPEM); err != nil && !isPEM && secret {
		err = fmt.Errorf("%w: write file: before it for a secret that the file holds", errKeyFile)
	}
	return content, public, err
}

// secretKey is a shared secret for HMAC.
func secretKey(content []byte, names []string) (Keys, []string, error) {
	if len(names) == 0 {
		names = []string{"HS256"}
	}
	if least := hashBytes(names); len(content) < least {
		return nil, nil, fmt.Errorf("the secret has fewer than %d bytes, the length of its hash: whoever has a token could find it by trying", least)
	}
	return key{content}, names, nil
}

// keyFileEndings are those of files that usually hold keys.
var keyFileEndings = []string{".pem", ".key", ".pub", ".crt", ".cer", ".der", ".jwk", ".json"}

// looksLikePath reports whether a text may be meant as the path of a file.
func looksLikePath(text string) bool {
	if strings.HasPrefix(text, "~") || strings.ContainsAny(text, `/\`) {
		return true
	}
	if len(text) > 1 && text[1] == ':' && ('a' <= text[0]|0x20 && text[0]|0x20 <= 'z') {
		return true // a drive
	}
	lower := strings.ToLower(text)
	return slices.ContainsFunc(keyFileEndings, func(ending string) bool { return strings.HasSuffix(lower, ending) })
}

// withoutPath is the cause of an error that names a file: what was taken for a path may be a key.
func withoutPath(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// family tells whether the algorithms are those of shared secrets; a key has one kind only.
func family(names []string) (symmetric bool, err error) {
	for i, name := range names {
		if err := CheckAlgorithm(name); err != nil {
			return false, err
		}
		hmac := strings.HasPrefix(name, "HS")
		if i > 0 && hmac != symmetric {
			return false, errors.New("a key cannot be a secret and public: give algorithms of one kind")
		}
		symmetric = hmac
	}
	return symmetric, nil
}

// keyContent resolves the marks file:, base64: and secret:.
func keyContent(text string) (content []byte, marked bool, err error) {
	if path, ok := strings.CutPrefix(text, "file:"); ok {
		content, err = os.ReadFile(path)
		if err != nil {
			return nil, true, fmt.Errorf("reading the key: %w", err)
		}
		return bytes.TrimRight(content, "\r\n"), true, nil
	}
	if secret, ok := strings.CutPrefix(text, "secret:"); ok {
		return []byte(secret), true, nil
	}
	if encoded, ok := strings.CutPrefix(text, "base64:"); ok {
		content, err := decodeBase64(encoded)
		return content, true, err
	}
	// Environments often cannot hold line breaks.
	if strings.Contains(text, "-----BEGIN") {
		text = strings.ReplaceAll(text, `\n`, "\n")
	}
	return []byte(text), false, nil
}

func decodeBase64(text string) ([]byte, error) {
	text = strings.TrimRight(strings.Join(strings.Fields(text), ""), "=")
	text = strings.NewReplacer("-", "+", "_", "/").Replace(text)
	content, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("the key is not valid base64")
	}
	return content, nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// publicKey reads a public key or certificate in PEM, or such a PEM or its DER in base64.
func publicKey(content []byte, isPEM bool) (any, error) {
	der := content
	if isPEM {
		block, _ := pem.Decode(content)
		if block == nil {
			return nil, errors.New("the key is not valid PEM")
		}
		if strings.Contains(block.Type, "PRIVATE") {
			return nil, errors.New("the key is private: give its public half, for nothing is signed here")
		}
		der = block.Bytes
	} else if decoded, err := decodeBase64(string(content)); err == nil {
		if bytes.Contains(decoded, []byte("-----BEGIN")) {
			return publicKey(decoded, true)
		}
		der = decoded
	}
	if public, err := x509.ParsePKIXPublicKey(der); err == nil {
		return public, nil
	}
	if public, err := x509.ParsePKCS1PublicKey(der); err == nil {
		return public, nil
	}
	if certificate, err := x509.ParseCertificate(der); err == nil {
		return certificate.PublicKey, nil
	}
	return nil, errors.New("the key is no public key and no certificate")
}

// usual is the algorithm that a public key is mostly used with.
func usual(public any) string {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		return map[elliptic.Curve]string{elliptic.P256(): "ES256", elliptic.P384(): "ES384", elliptic.P521(): "ES512"}[k.Curve]
	case ed25519.PublicKey:
		return "EdDSA"
	}
	return "RS256"
}

// fitting gives the key, or keys, if the algorithm may be used with them. This is what keeps a public key, which everyone knows, from
// being taken for a secret.
func fitting(algorithm string, k any) (any, error) {
	var ok bool
	switch k := k.(type) {
	case jwt.VerificationKeySet:
		var fit jwt.VerificationKeySet
		for _, one := range k.Keys {
			if _, err := fitting(algorithm, one); err == nil {
				fit.Keys = append(fit.Keys, one)
			}
		}
		if len(fit.Keys) == 0 {
			return nil, UnknownKey
		}
		return fit, nil
	case []byte:
		ok = strings.HasPrefix(algorithm, "HS")
	case *rsa.PublicKey:
		ok = (strings.HasPrefix(algorithm, "RS") || strings.HasPrefix(algorithm, "PS")) && k.N.BitLen() >= minRSABits
	case *ecdsa.PublicKey:
		ok = strings.HasPrefix(algorithm, "ES") && usual(k) == algorithm
	case ed25519.PublicKey:
		ok = algorithm == "EdDSA"
	}
	if !ok {
		return nil, UnknownKey
	}
	return k, nil
}

// hashBytes is the least length of a secret (RFC 7518, section 3.2).
func hashBytes(names []string) int {
	longest := 0
	for _, name := range names {
		longest = max(longest, map[string]int{"HS256": 32, "HS384": 48, "HS512": 64}[name])
	}
	return longest
}
