#!/bin/sh
# Before the first `azd provision`: registers the application, without a secret, unless CLOAKROOM_CLIENT_ID names one.
# Who may not register applications asks somebody who may, and sets that variable by `azd env set`.
set -eu

if [ -n "${CLOAKROOM_CLIENT_ID:-}" ]; then
  exit 0
fi
name="cloakroom-${AZURE_ENV_NAME:?run this by azd}"
id=$(az ad app create --display-name "$name" --sign-in-audience AzureADMyOrg --query appId --output tsv)
az ad sp create --id "$id" --output none
azd env set CLOAKROOM_CLIENT_ID "$id"
echo "Registered the application $name: $id."
