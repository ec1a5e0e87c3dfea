#!/bin/sh
# Before `azd provision`: registers the application, without a secret, unless CLOAKROOM_CLIENT_ID is set. If you
# may not register applications, ask somebody who may, and set that variable with `azd env set`.
set -eu

id=${CLOAKROOM_CLIENT_ID:-}
if [ -z "$id" ]; then
  environment=${AZURE_ENV_NAME:?run this with azd}
  # az changes an existing application of the same name, so the name is unique to this environment and subscription.
  # azd may not have prompted for the subscription yet.
  subscription=${AZURE_SUBSCRIPTION_ID:-$(az account show --query id --output tsv)}
  name=cloakroom-$environment-$(printf '%s' "$subscription" | cksum | cut -d ' ' -f 1)
  id=$(az ad app create --display-name "$name" --sign-in-audience AzureADMyOrg --query appId --output tsv)
  # Set at once, so that a run after a failure continues with this application.
  azd env set CLOAKROOM_CLIENT_ID "$id"
  echo "Registered the application $name: $id."
fi

if az ad sp show --id "$id" --output none 2>/dev/null || az ad sp create --id "$id" --output none; then
  exit 0
fi
# The templates do not need the service principal, but a sign-in does.
echo "An administrator has to run: az ad sp create --id $id" >&2
