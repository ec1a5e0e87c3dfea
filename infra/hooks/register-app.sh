#!/bin/sh
# Before `azd provision`: registers the application, without a secret, unless CLOAKROOM_CLIENT_ID is set. If you
# may not register applications, ask somebody who may, and set that variable with `azd env set`.
set -eu

# shellcheck source=infra/hooks/same-tenant.sh
. "$(dirname "$0")/same-tenant.sh"

id=${CLOAKROOM_CLIENT_ID:-}
if [ -z "$id" ]; then
  environment=${AZURE_ENV_NAME:?run this with azd}
  # Unique to this environment and subscription.
  name=cloakroom-$environment-$(printf '%s' "$subscription" | cksum | cut -d ' ' -f 1)
  # `az ad app create` does not fail for an existing application of the same name, but changes it.
  existing=$(az ad app list --filter "displayName eq '$name'" --query "[].appId" --output tsv)
  if [ -n "$existing" ]; then
    cat >&2 <<EOF
There is an application named $name already. It was not changed: $existing
If an earlier run of this environment registered it, run: azd env set CLOAKROOM_CLIENT_ID $existing
Otherwise use another environment: azd env new
EOF
    exit 1
  fi
  id=$(az ad app create --display-name "$name" --sign-in-audience AzureADMyOrg --query appId --output tsv)
  # Set at once, so that a run after a failure continues with this application.
  if ! azd env set CLOAKROOM_CLIENT_ID "$id"; then
    echo "Registered the application $name. Before the next run: azd env set CLOAKROOM_CLIENT_ID $id" >&2
    exit 1
  fi
  echo "Registered the application $name: $id."
fi

if az ad sp show --id "$id" --output none 2>/dev/null || az ad sp create --id "$id" --output none; then
  exit 0
fi
# The templates do not need the service principal, but a sign-in does.
echo "An administrator has to run: az ad sp create --id $id" >&2
