#!/bin/sh
# Creates the first key of the ring: runs the timer function rotate_keys once, instead of waiting for its hour, and waits
# until the gateway has the key. The key is not displayed. Nor is the host's master key, which this script needs: it is
# piped from az to curl, so that it is in no variable, on no command line and in no log.
#
#   infra/hooks/first-key.sh [GROUP APP]
#
# Without arguments the names come from the environment, where azd puts the outputs of the deployment. If there is a key
# already, the script does nothing, so it may run after every deployment.
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

disabled=$(az functionapp config appsettings list --resource-group "$group" --name "$app" \
  --query "[?name=='AzureWebJobs.rotate_keys.Disabled'].value" --output tsv)
if [ "$disabled" = true ]; then
  echo "The timer of $app is disabled. A pipeline must create its keys: cloakroom keys rotate."
  exit 0
fi

# For an app on Flex Consumption az prints Azure's own response, with the host name one level deeper.
host=$(az functionapp show --resource-group "$group" --name "$app" \
  --query 'defaultHostName || properties.defaultHostName' --output tsv)
if [ -z "$host" ]; then
  echo "az reports no host of the app $app in the group $group." >&2
  exit 1
fi
origin=https://$host

# Whether the gateway responds and has a key. The provider's metadata may still be missing.
has_key() {
  missing=$(curl --disable --silent --max-time 30 --proto =https "$origin/health/ready" |
    sed -n 's/.*"missing": *\[\([^]]*\)\].*/[\1]/p') || return 1
  case $missing in
  '' | *'"keys"'*) return 1 ;;
  *) return 0 ;;
  esac
}

rotate() {
  az functionapp keys list --resource-group "$group" --name "$app" --query masterKey --output tsv |
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
echo "The gateway at $origin has no key yet. See Troubleshooting in docs/deploy.md." >&2
exit 1
