// A Key Vault whose paths, JSON and paging are Microsoft's generated fake server; what it answers with is kept here.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets/fake"
)

// Real vaults have their tenant here; no client follows it.
const challenge = `Bearer authorization="https://login.microsoftonline.com/00000000-0000-0000-0000-000000000000", ` +
	`resource="https://vault.azure.net"`

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:"+setting("PORT", "0"))
	check(err)
	authority, leaf, err := certificates(strings.Fields(os.Getenv("NAMES")))
	check(err)
	file := setting("CA_FILE", "")
	if file == "" {
		file, err = temporary()
		check(err)
		defer os.Remove(file)
	}
	check(os.WriteFile(file, authority, 0o644))
	url := fmt.Sprintf("https://localhost:%d", listener.Addr().(*net.TCPAddr).Port)
	server := &http.Server{
		Handler:   newAdapter(newVault(url), strings.Fields(os.Getenv("TOKENS"))),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{leaf}},
		ErrorLog:  log.New(io.Discard, "", 0),
	}
	go func() { check(server.ServeTLS(listener, "", "")) }()
	fmt.Printf("ca %s\nready %s\n", file, url)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// adapter brings requests of the network to Microsoft's fake, which was made to stand in for a client's transport.
type adapter struct {
	fake   *fake.ServerTransport
	tokens []string
	lists  atomic.Uint64
}

func newAdapter(vault *vault, tokens []string) *adapter {
	return &adapter{fake: fake.NewServerTransport(vault.server()), tokens: tokens}
}

func (a *adapter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !bearer || token == "" || len(a.tokens) > 0 && !slices.Contains(a.tokens, token) {
		// Microsoft's own challenge cannot be had for a host without dots.
		w.Header().Set("WWW-Authenticate", challenge)
		refuse(w, http.StatusUnauthorized, "Unauthorized")
		return
	}
	if r.URL.Query().Get("api-version") == "" {
		refuse(w, http.StatusBadRequest, "BadParameter")
		return
	}
	api := method(r)
	if strings.HasSuffix(r.URL.Path, "/versions") {
		// The fake identifies a list in progress by its path only: two concurrent or unfinished ones would share pages.
		r.URL.Path = fmt.Sprintf("/lists/%d%s", a.lists.Add(1), r.URL.Path)
	}
	r.URL.Scheme, r.URL.Host = "https", r.Host
	answer, err := a.fake.Do(r.WithContext(context.WithValue(r.Context(), runtime.CtxAPINameKey{}, api)))
	var refused *azcore.ResponseError
	switch {
	case errors.As(err, &refused):
		answer = refused.RawResponse
	case err != nil:
		refuse(w, http.StatusBadRequest, "BadParameter")
		return
	}
	defer answer.Body.Close()
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.StatusCode)
	_, _ = io.Copy(w, answer.Body)
}

// method selects the function of the fake.
func method(r *http.Request) string {
	switch {
	case r.Method == http.MethodPut:
		return "Client.SetSecret"
	case r.Method == http.MethodPatch:
		return "Client.UpdateSecretProperties"
	case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/versions"):
		return "Client.NewListSecretPropertiesVersionsPager"
	case r.Method == http.MethodGet:
		return "Client.GetSecret"
	default:
		return r.Method
	}
}

// refuse answers as the fake does: the code in a header, no body.
func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("x-ms-error-code", code)
	w.WriteHeader(status)
}

func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func temporary() (string, error) {
	file, err := os.CreateTemp("", "key-vault-ca-*.pem")
	if err != nil {
		return "", err
	}
	return file.Name(), file.Close()
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
