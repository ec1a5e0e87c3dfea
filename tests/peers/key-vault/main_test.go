package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

// start gives Microsoft's own client for the adapter.
func start(t *testing.T, tokens ...string) *azsecrets.Client {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.Config.Handler = newAdapter(newVault("https://"+server.Listener.Addr().String()), tokens)
	server.StartTLS()
	t.Cleanup(server.Close)
	options := azsecrets.ClientOptions{DisableChallengeResourceVerification: true}
	options.Transport = server.Client()
	options.Retry = policy.RetryOptions{MaxRetries: -1}
	client, err := azsecrets.NewClient(server.URL, &azfake.TokenCredential{}, &options)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func set(t *testing.T, client *azsecrets.Client, value string) azsecrets.Secret {
	t.Helper()
	nbf := time.Unix(1_700_000_000, 0).UTC()
	parameters := azsecrets.SetSecretParameters{
		Value: &value, ContentType: to.Ptr("application/vnd.test"), Tags: map[string]*string{"a": to.Ptr("b")},
		SecretAttributes: &azsecrets.SecretAttributes{NotBefore: &nbf},
	}
	answer, err := client.SetSecret(context.Background(), "ring", parameters, nil)
	if err != nil {
		t.Fatal(err)
	}
	return answer.Secret
}

func list(client *azsecrets.Client, pages int) (found []*azsecrets.SecretProperties, err error) {
	pager := client.NewListSecretPropertiesVersionsPager("ring", nil)
	for ; pager.More() && pages > 0; pages-- {
		page, err := pager.NextPage(context.Background())
		if err != nil {
			return nil, err
		}
		found = append(found, page.Value...)
	}
	return found, nil
}

func rejection(t *testing.T, err error) (int, string) {
	t.Helper()
	var refused *azcore.ResponseError
	if !errors.As(err, &refused) {
		t.Fatalf("not rejected: %v", err)
	}
	return refused.StatusCode, refused.ErrorCode
}

func TestVersions(t *testing.T) {
	client := start(t)
	first, second := set(t, client, "one"), set(t, client, "two")
	latest, err := client.GetSecret(context.Background(), "ring", "", nil)
	if err != nil || *latest.Value != "two" || *latest.ID != *second.ID {
		t.Fatal(latest, err)
	}
	old, err := client.GetSecret(context.Background(), "ring", first.ID.Version(), nil)
	if err != nil || *old.Value != "one" || old.Attributes.NotBefore.Unix() != 1_700_000_000 || *old.Tags["a"] != "b" {
		t.Fatal(old, err)
	}
	off := azsecrets.UpdateSecretPropertiesParameters{SecretAttributes: &azsecrets.SecretAttributes{Enabled: to.Ptr(false)}}
	updated, err := client.UpdateSecretProperties(context.Background(), "ring", second.ID.Version(), off, nil)
	if err != nil || *updated.Attributes.Enabled || updated.Value != nil || *updated.ContentType != "application/vnd.test" {
		t.Fatal(updated, err)
	}
	_, err = client.GetSecret(context.Background(), "ring", "", nil)
	if status, code := rejection(t, err); status != http.StatusForbidden || code != "Forbidden" {
		t.Fatal(status, code)
	}
	_, err = client.GetSecret(context.Background(), "ring", "00000000000000000000000000000000", nil)
	if status, code := rejection(t, err); status != http.StatusNotFound || code != "SecretNotFound" {
		t.Fatal(status, code)
	}
}

func TestPages(t *testing.T) {
	client := start(t)
	_, err := list(client, 9)
	if status, _ := rejection(t, err); status != http.StatusNotFound {
		t.Fatal(status)
	}
	for range 60 {
		set(t, client, "value")
	}
	// A list that is left half read must not shorten the next.
	if half, err := list(client, 1); err != nil || len(half) != pageSize {
		t.Fatal(len(half), err)
	}
	all, err := list(client, 9)
	seen := map[azsecrets.ID]bool{}
	for _, version := range all {
		seen[*version.ID] = true
	}
	if err != nil || len(all) != 60 || len(seen) != 60 {
		t.Fatal(len(all), len(seen), err)
	}
}

func TestTokens(t *testing.T) {
	// The credential's token is "fake_token".
	_, err := list(start(t, "another"), 1)
	if status, _ := rejection(t, err); status != http.StatusUnauthorized {
		t.Fatal(status)
	}
	set(t, start(t, "another", "fake_token"), "value")
}
