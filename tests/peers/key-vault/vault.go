package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"slices"
	"sync"
	"time"

	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets/fake"
)

// pageSize is Key Vault's. The fake does not hand on what a client asks for.
const pageSize = 25

// vault keeps the versions of each secret, oldest first.
type vault struct {
	url     string
	mutex   sync.Mutex
	secrets map[string][]*azsecrets.Secret
}

func newVault(url string) *vault {
	return &vault{url: url, secrets: map[string][]*azsecrets.Secret{}}
}

func (v *vault) server() *fake.Server {
	return &fake.Server{
		SetSecret:                            v.set,
		GetSecret:                            v.get,
		UpdateSecretProperties:               v.update,
		NewListSecretPropertiesVersionsPager: v.list,
	}
}

func (v *vault) set(_ context.Context, name string, given azsecrets.SetSecretParameters, _ *azsecrets.SetSecretOptions) (
	resp azfake.Responder[azsecrets.SetSecretResponse], refused azfake.ErrorResponder) {
	if given.Value == nil {
		refused.SetResponseError(http.StatusBadRequest, "BadParameter")
		return
	}
	id := make([]byte, 16)
	_, _ = rand.Read(id)
	now := time.Now().Truncate(time.Second)
	secret := &azsecrets.Secret{
		ID:          to.Ptr(azsecrets.ID(v.url + "/secrets/" + name + "/" + hex.EncodeToString(id))),
		Value:       given.Value,
		ContentType: given.ContentType,
		Tags:        given.Tags,
		Attributes: &azsecrets.SecretAttributes{
			Enabled: to.Ptr(true), Created: &now, Updated: &now,
			RecoveryLevel: to.Ptr("Recoverable+Purgeable"), RecoverableDays: to.Ptr(int32(90)),
		},
	}
	merge(secret.Attributes, given.SecretAttributes)
	v.mutex.Lock()
	defer v.mutex.Unlock()
	v.secrets[name] = append(v.secrets[name], secret)
	resp.SetResponse(http.StatusOK, azsecrets.SetSecretResponse{Secret: *secret}, nil)
	return
}

func (v *vault) get(_ context.Context, name, version string, _ *azsecrets.GetSecretOptions) (
	resp azfake.Responder[azsecrets.GetSecretResponse], refused azfake.ErrorResponder) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	secret := v.find(name, version)
	switch {
	case secret == nil:
		refused.SetResponseError(http.StatusNotFound, "SecretNotFound")
	case !*secret.Attributes.Enabled:
		refused.SetResponseError(http.StatusForbidden, "Forbidden")
	default:
		resp.SetResponse(http.StatusOK, azsecrets.GetSecretResponse{Secret: *secret}, nil)
	}
	return
}

func (v *vault) update(_ context.Context, name, version string, given azsecrets.UpdateSecretPropertiesParameters,
	_ *azsecrets.UpdateSecretPropertiesOptions) (
	resp azfake.Responder[azsecrets.UpdateSecretPropertiesResponse], refused azfake.ErrorResponder) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	secret := v.find(name, version)
	if secret == nil {
		refused.SetResponseError(http.StatusNotFound, "SecretNotFound")
		return
	}
	// Answers that are still being written keep the attributes that they were made with.
	attributes := *secret.Attributes
	attributes.Updated = to.Ptr(time.Now().Truncate(time.Second))
	merge(&attributes, given.SecretAttributes)
	secret.Attributes = &attributes
	secret.ContentType = cmp.Or(given.ContentType, secret.ContentType)
	if given.Tags != nil {
		secret.Tags = given.Tags
	}
	answer := *secret
	answer.Value = nil
	resp.SetResponse(http.StatusOK, azsecrets.UpdateSecretPropertiesResponse{Secret: answer}, nil)
	return
}

func (v *vault) list(name string, _ *azsecrets.ListSecretPropertiesVersionsOptions) (
	pages azfake.PagerResponder[azsecrets.ListSecretPropertiesVersionsResponse]) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	versions := make([]*azsecrets.SecretProperties, 0, len(v.secrets[name]))
	for _, secret := range v.secrets[name] {
		versions = append(versions, &azsecrets.SecretProperties{
			ID: secret.ID, Attributes: secret.Attributes, ContentType: secret.ContentType, Tags: secret.Tags,
		})
	}
	if len(versions) == 0 {
		pages.AddResponseError(http.StatusNotFound, "SecretNotFound")
	}
	// As Key Vault: by the version's id, which says nothing of its age.
	slices.SortFunc(versions, func(a, b *azsecrets.SecretProperties) int { return cmp.Compare(*a.ID, *b.ID) })
	for page := range slices.Chunk(versions, pageSize) {
		result := azsecrets.SecretPropertiesListResult{Value: page}
		pages.AddPage(http.StatusOK, azsecrets.ListSecretPropertiesVersionsResponse{SecretPropertiesListResult: result}, nil)
	}
	return
}

// find gives the version, or the newest where none is named.
func (v *vault) find(name, version string) *azsecrets.Secret {
	versions := v.secrets[name]
	for _, secret := range slices.Backward(versions) {
		if version == "" || secret.ID.Version() == version {
			return secret
		}
	}
	return nil
}

func merge(attributes, given *azsecrets.SecretAttributes) {
	if given == nil {
		return
	}
	attributes.Enabled = cmp.Or(given.Enabled, attributes.Enabled)
	attributes.NotBefore = cmp.Or(given.NotBefore, attributes.NotBefore)
	attributes.Expires = cmp.Or(given.Expires, attributes.Expires)
}
