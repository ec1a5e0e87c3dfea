#!/bin/sh
# After `azd provision`: registers the redirect URIs of the new app, and adds the app's managed identity to the
# application as a federated credential. Both are only done if they are missing, so that it may run each time. Without
# permission to change the application it prints what an administrator has to do.
set -eu

# shellcheck source=infra/hooks/same-tenant.sh
. "$(dirname "$0")/same-tenant.sh"

id=${CLOAKROOM_CLIENT_ID:?azd sets it from its environment}
origin=${CLOAKROOM_PUBLIC_ORIGIN:?azd sets it from the outputs of the deployment}
# An output of older templates may end in a slash, which would make another redirect URI.
origin=${origin%/}
principal=${AZURE_IDENTITY_PRINCIPAL_ID:?azd sets it from the outputs of the deployment}
issuer=https://login.microsoftonline.com/$tenant/v2.0

hand_over() {
  status=$?
  if [ "$status" != 0 ]; then
    cat >&2 <<EOF
The application $id could not be changed. An administrator has to add these redirect URIs for the platform Web to
the existing ones:
  $origin/auth/callback
  $origin/auth/logout
and to add the identity as a federated credential:
  az ad app federated-credential create --id $id --parameters '{"name": "identity-$principal",
    "issuer": "$issuer", "subject": "$principal", "audiences": ["api://AzureADTokenExchange"]}'
Then run azd provision again.
EOF
  fi
  exit "$status"
}
trap hand_over EXIT

uris=$(az ad app show --id "$id" --query "web.redirectUris" --output tsv)
missing=
for uri in "$origin/auth/callback" "$origin/auth/logout"; do
  printf '%s\n' "$uris" | grep -qxF "$uri" || missing="$missing $uri"
done
if [ -n "$missing" ]; then
  # Existing ones are kept: one registration may serve several addresses.
  # shellcheck disable=SC2086 # Each is a separate argument, and none contains a space.
  az ad app update --id "$id" --web-redirect-uris $uris $missing
  echo "Registered the redirect URIs of $origin."
fi

trusted=$(az ad app federated-credential list --id "$id" --query "length([?subject == '$principal'])" --output tsv)
if [ "$trusted" = 0 ]; then
  az ad app federated-credential create --id "$id" --output none --parameters '{
    "name": "identity-'"$principal"'",
    "issuer": "'"$issuer"'",
    "subject": "'"$principal"'",
    "audiences": ["api://AzureADTokenExchange"]
  }'
  echo "Added the app's managed identity as a federated credential."
fi
