#!/bin/sh
# Before `azd provision`: registers the application, without a secret, unless CLOAKROOM_CLIENT_ID names one. Who may not
# register applications asks somebody who may, and sets that variable by `azd env set`.
set -eu

id=${CLOAKROOM_CLIENT_ID:-}
if [ -z "$id" ]; then
  environment=${AZURE_ENV_NAME:?run this by azd}
  # az changes an application that has the name already, be it a colleague's: so the name is this environment's alone.
  # azd may not have asked for the subscription yet.
  subscription=${AZURE_SUBSCRIPTION_ID:-$(az account show --query id --output tsv)}
  name=cloakroom-$environment-$(printf '%s' "$subscription" | cksum | cut -d ' ' -f 1)
  id=$(az ad app create --display-name "$name" --sign-in-audience AzureADMyOrg --query appId --output tsv)
  # At once, so that a run after a failure goes on with this application.
  azd env set CLOAKROOM_CLIENT_ID "$id"
  echo "Registered the application $name: $id."
fi

if az ad sp show --id "$id" --output none 2>/dev/null || az ad sp create --id "$id" --output none; then
  exit 0
fi
# The templates do not need it, a sign-in does.
echo "See that somebody who may has done this: az ad sp create --id $id" >&2
