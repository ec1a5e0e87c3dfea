#!/bin/sh
# Sourced by the hooks that change the application. Sets `subscription` and `tenant`, and stops unless az is signed in
# to the tenant of the subscription that azd deploys to. `az ad` has no option for either: it changes what it finds in
# the tenant that az is signed in to.

subscription=${AZURE_SUBSCRIPTION_ID:?azd has not set it yet: run azd env set AZURE_SUBSCRIPTION_ID with the id}

if ! tenant=$(az account show --subscription "$subscription" --query tenantId --output tsv); then
  echo "az cannot find the subscription $subscription, to which azd deploys. Run: az login" >&2
  exit 1
fi
current=$(az account show --query tenantId --output tsv)
if [ "$current" != "$tenant" ]; then
  cat >&2 <<EOF
az is signed in to the tenant $current, but azd deploys to the tenant $tenant. Nothing was changed. Run:
  az account set --subscription $subscription
EOF
  exit 1
fi
