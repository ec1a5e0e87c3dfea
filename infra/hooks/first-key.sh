#!/bin/sh
# Creates the first key of the ring: runs the timer function rotate_keys once, instead of waiting for its hour, and
# waits until the gateway has the key. The key is not displayed. Nor is the host's master key, which this script needs:
# it is piped from az to curl, so that it is in no variable, on no command line and in no log.
#
#   infra/hooks/first-key.sh [GROUP APP]
#
# Without arguments the names come from the environment, where azd puts the outputs of the deployment. The subscription
# is AZURE_SUBSCRIPTION_ID, or az's own if that is not set. If there is a key already, the script does nothing, so it
# may run after every deployment.
set -eu
# Turns off tracing by the caller; --disable ignores a .curlrc that traces.
{ set +x; } 2>/dev/null

group=${1:-${AZURE_RESOURCE_GROUP:?pass the resource group and the app}}
app=${2:-${AZURE_FUNCTION_APP_NAME:?pass the resource group and the app}}
# A new app needs time to start, and role assignments need up to ten minutes to take effect at the vault. The function
# contacts the vault at most once a minute.
attempts=12
looks=13
pause=5

subscription=${AZURE_SUBSCRIPTION_ID:-$(az account show --query id --output tsv)}

disabled=$(az functionapp config appsettings list --subscription "$subscription" --resource-group "$group" \
  --name "$app" --query "[?name=='AzureWebJobs.rotate_keys.Disabled'].value" --output tsv)
if [ "$disabled" = true ]; then
  echo "The timer of $app is disabled. A pipeline must create its keys: cloakroom keys rotate."
  exit 0
fi

# For an app on Flex Consumption az prints Azure's own response, with the host name one level deeper.
host=$(az functionapp show --subscription "$subscription" --resource-group "$group" --name "$app" \
  --query 'defaultHostName || properties.defaultHostName' --output tsv)
if [ -z "$host" ]; then
  echo "az reports no host of the app $app in the group $group." >&2
  exit 1
fi
origin=https://$host
# An app that only Front Door may call rejects this script too, but responds through Front Door.
public=$(az functionapp config appsettings list --subscription "$subscription" --resource-group "$group" --name "$app" \
  --query "[?name=='CLOAKROOM_PUBLIC_ORIGIN'].value" --output tsv)
if [ "$public" = "$origin" ]; then
  public=
fi

# What the gateway at this address has not loaded yet. Empty: it does not respond.
missing() {
  curl --disable --silent --max-time 30 --proto =https "$1/health/ready" |
    sed -n 's/.*"missing": *\[\([^]]*\)\].*/[\1]/p'
}

# Whether the gateway responds and has a key. The provider's metadata may still be missing.
has_key() {
  for address in "$origin" ${public:+"$public"}; do
    case $(missing "$address") in
    '' | *'"keys"'*) ;;
    *) return 0 ;;
    esac
  done
  return 1
}

rotate() {
  az functionapp keys list --subscription "$subscription" --resource-group "$group" --name "$app" \
    --query masterKey --output tsv |
    sed 's/^/header = "x-functions-key: /; s/[[:space:]]*$/"/' |
    curl --disable --config - --silent --show-error --max-time 60 --proto =https --output /dev/null \
      --write-out '%{http_code}' --request POST --header 'content-type: application/json' --data '{"input":null}' \
      "$origin/admin/functions/rotate_keys" || true
}

attempt=1
while [ "$attempt" -le "$attempts" ]; do
  if has_key; then
    echo "The gateway at $origin has a key."
    exit 0
  fi
  status=$(rotate)
  echo "Attempt $attempt of $attempts: rotate_keys responded ${status:-nothing}."
  look=1
  while [ "$look" -le "$looks" ]; do
    sleep "$pause"
    if has_key; then
      echo "The gateway at $origin has a key."
      exit 0
    fi
    look=$((look + 1))
  done
  attempt=$((attempt + 1))
done
if [ "$status" = 403 ]; then
  echo "The app rejects requests from here, as it does if only Front Door may call it. Its timer runs every hour." >&2
fi
echo "The gateway at $origin has no key yet. See Troubleshooting in docs/deploy-functions.md." >&2
exit 1
