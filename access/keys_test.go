package access

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func pemOf(t testing.TB, kind string, der []byte, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func publicPEM(t testing.TB, key any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	return pemOf(t, "PUBLIC KEY", der, err)
}

func TestParseKey(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed, edPrivate, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(edPrivate)
	privatePEM := pemOf(t, "PRIVATE KEY", private, err)
	rsaPEM, shortPEM, ecPEM, p384PEM, edPEM := publicPEM(t, &rsaKey.PublicKey), publicPEM(t, &short.PublicKey),
		publicPEM(t, &ecKey(t).PublicKey), publicPEM(t, &p384.PublicKey), publicPEM(t, ed)
	edDER, _ := x509.MarshalPKIXPublicKey(ed)
	folder := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	long := strings.Repeat("s", 64)
	for name, test := range map[string]struct {
		text       string
		given      []string
		algorithms string // empty: it must be refused
	}{
		"secret":                      {long, nil, "HS256"},
		"secret for all":              {long, []string{"HS512", "HS256"}, "HS512 HS256"},
		"short":                       {"secret", nil, ""},
		"short for this hash":         {long[:40], []string{"HS512"}, ""},
		"short, marked":               {"secret:" + long[:31], nil, ""},
		"marked":                      {"secret:" + long, nil, "HS256"},
		"marked, like a path":         {"secret:/etc/" + long, []string{"HS256"}, "HS256"},
		"public PEM at a path":        {file("ed3.pem", edPEM), nil, "EdDSA"},
		"a path from here":            {"./" + long, nil, ""},
		"a path from above":           {"../" + long, []string{"HS256"}, ""},
		"a path from home":            {"~" + long, nil, ""},
		"a path on a drive":           {"c:" + long, nil, ""},
		"a path with backslashes":     {"keys\\" + long, nil, ""},
		"the name of a PEM":           {long + ".pem", nil, ""},
		"the name of a key":           {long + ".KEY", []string{"HS256"}, ""},
		"the name of a JWK":           {long + ".json", nil, ""},
		"secret in a file":            {"file:" + file("secret", long+"\n"), nil, "HS256"},
		"secret in base64":            {"base64:" + base64.StdEncoding.EncodeToString([]byte(long)), nil, "HS256"},
		"secret in base64 for URLs":   {"base64:" + base64.RawURLEncoding.EncodeToString([]byte(long)), nil, "HS256"},
		"secret like a path":          {"/nowhere/" + long, nil, ""},
		"RSA":                         {rsaPEM, nil, "RS256"},
		"RSA, others":                 {rsaPEM, []string{"PS512", "RS384"}, "PS512 RS384"},
		"PKCS 1":                      {pemOf(t, "RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey), nil), nil, "RS256"},
		"P-256":                       {ecPEM, nil, "ES256"},
		"P-384":                       {p384PEM, nil, "ES384"},
		"Ed25519":                     {edPEM, nil, "EdDSA"},
		"on one line":                 {strings.ReplaceAll(edPEM, "\n", `\n`), nil, "EdDSA"},
		"PEM in a file":               {"file:" + file("ed.pem", edPEM), nil, "EdDSA"},
		"PEM at a path":               {file("ed2.pem", edPEM), []string{"EdDSA"}, "EdDSA"},
		"DER at a path":               {file("ed.der", string(edDER)), []string{"EdDSA"}, "EdDSA"},
		"DER in base64":               {base64.StdEncoding.EncodeToString(edDER), []string{"EdDSA"}, "EdDSA"},
		"PEM in base64":               {"base64:" + base64.StdEncoding.EncodeToString([]byte(edPEM)), nil, "EdDSA"},
		"empty":                       {"", nil, ""},
		"white space":                 {" \n", nil, ""},
		"an empty file":               {"file:" + file("empty", "\n"), nil, ""},
		"no such file":                {"file:/nowhere/key", nil, ""},
		"no such path":                {"/nowhere/key.pem", []string{"RS256"}, ""},
		"a file as a secret":          {file("secret2", long), nil, ""},
		"a file as a secret for HMAC": {file("secret3", long), []string{"HS256"}, ""},
		"bad base64":                  {"base64:***", nil, ""},
		"public key for HMAC":         {rsaPEM, []string{"HS256"}, ""},
		"its DER for HMAC":            {"base64:" + base64.StdEncoding.EncodeToString(edDER), []string{"HS256"}, ""},
		"its DER for nothing":         {"base64:" + base64.StdEncoding.EncodeToString(edDER), nil, ""},
		"its file for HMAC":           {"file:" + file("rsa.pem", rsaPEM), []string{"HS256"}, ""},
		"private":                     {privatePEM, nil, ""},
		"broken PEM":                  {"-----BEGIN PUBLIC KEY-----\nxxx\n-----END PUBLIC KEY-----", nil, ""},
		"short RSA":                   {shortPEM, nil, ""},
		"both kinds":                  {rsaPEM, []string{"HS256", "RS256"}, ""},
		"both kinds, a secret":        {long, []string{"RS256", "HS256"}, ""},
		"another curve":               {p384PEM, []string{"ES256"}, ""},
		"another kind":                {edPEM, []string{"RS256"}, ""},
		"none":                        {long, []string{"none"}, ""},
		"a secret for RSA":            {long, []string{"RS256"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			k, algorithms, err := ParseKey(test.text, test.given)
			if test.algorithms == "" {
				if err == nil {
					t.Fatalf("it is taken for %q", algorithms)
				}
				if len(test.text) > 30 && strings.Contains(err.Error(), test.text[:30]) {
					t.Errorf("the error quotes the key: %v", err)
				}
				return
			}
			if err != nil || k == nil || !slices.Equal(algorithms, strings.Fields(test.algorithms)) {
				t.Errorf("%q, %v", algorithms, err)
			}
			if secret, ok := k.(key).value.([]byte); ok && strings.HasSuffix(string(secret), "\n") {
				t.Error("the line break of the file is part of the secret")
			}
		})
	}
}

func TestTokenOptionsAreChecked(t *testing.T) {
	for name, o := range map[string]TokenOptions{
		"no algorithm":      {},
		"none":              {Algorithms: []string{"none"}},
		"a leeway too long": {Algorithms: []string{"HS256"}, Leeway: MaxLeeway + 1},
		"a negative leeway": {Algorithms: []string{"HS256"}, Leeway: -1},
		"an unknown one":    {Algorithms: []string{"HS256", "ES256K"}},
	} {
		if _, err := NewTokens(o); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
