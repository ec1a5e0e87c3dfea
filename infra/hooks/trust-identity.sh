#!/bin/sh
# After `azd provision`: lets the application redirect to the app that was made, and lets the app's managed identity
# prove that it is this application. Both are only done where they are missing, so that it may run each time. Who may
# not change the application is told what to hand over to somebody who may.
set -eu

id=${CLOAKROOM_CLIENT_ID:?azd sets it from its environment}
origin=${CLOAKROOM_PUBLIC_ORIGIN:?azd sets it from the outputs of the deployment}
principal=${AZURE_IDENTITY_PRINCIPAL_ID:?azd sets it from the outputs of the deployment}
issuer=https://login.microsoftonline.com/$(az account show --query tenantId --output tsv)/v2.0

hand_over() {
  status=$?
  if [ "$status" != 0 ]; then
    cat >&2 <<EOF
The application $id could not be changed. Somebody who may adds these redirect URIs of the platform Web to it, beside
those that are there:
  $origin/auth/callback
  $origin/auth/logout
and lets the identity stand for it:
  az ad app federated-credential create --id $id --parameters '{"name": "identity-$principal",
    "issuer": "$issuer", "subject": "$principal", "audiences": ["api://AzureADTokenExchange"]}'
Then run azd up again.
EOF
  fi
  exit "$status"
}
trap hand_over EXIT

registered=$(az ad app show --id "$id" --query "length(web.redirectUris[?@ == '$origin/auth/callback'])" --output tsv)
if [ "$registered" = 0 ]; then
  # Those that are there stay: one registration may serve several addresses.
  uris=$(az ad app show --id "$id" --query "web.redirectUris" --output tsv)
  # shellcheck disable=SC2086 # Each is an argument of its own, and none holds a space.
  az ad app update --id "$id" --web-redirect-uris $uris "$origin/auth/callback" "$origin/auth/logout"
  echo "$origin may be redirected to."
fi

trusted=$(az ad app federated-credential list --id "$id" --query "length([?subject == '$principal'])" --output tsv)
if [ "$trusted" = 0 ]; then
  az ad app federated-credential create --id "$id" --output none --parameters '{
    "name": "identity-'"$principal"'",
    "issuer": "'"$issuer"'",
    "subject": "'"$principal"'",
    "audiences": ["api://AzureADTokenExchange"]
  }'
  echo "The app's managed identity stands for the application."
fi
