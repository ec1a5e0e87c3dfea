// Parameters that `azd` or your terminal sets in the environment; edit it for manual deployments.
using './main.bicep'

// The app registration's application (client) id. It is required.
param clientId = readEnvironmentVariable('CLOAKROOM_CLIENT_ID')

// Everything below is optional; main.bicep has the defaults.
param appName = readEnvironmentVariable('APP_NAME', '')
param publicOrigin = readEnvironmentVariable('PUBLIC_ORIGIN', '')
param allowedOrigins = readEnvironmentVariable('ALLOWED_ORIGINS', '')
param location = readEnvironmentVariable('AZURE_LOCATION', '')
param hostingPlan = readEnvironmentVariable('HOSTING_PLAN', 'flex')
param keyVaultName = readEnvironmentVariable('KEY_VAULT_NAME', '')
param keyVaultLocation = readEnvironmentVariable('KEY_VAULT_LOCATION', '')
param virtualNetwork = bool(readEnvironmentVariable('VIRTUAL_NETWORK', 'false'))
param frontDoorId = readEnvironmentVariable('FRONT_DOOR_ID', '')
param rotateInApp = bool(readEnvironmentVariable('ROTATE_IN_APP', 'true'))
param redis = bool(readEnvironmentVariable('REDIS', 'false'))
param redisSku = readEnvironmentVariable('REDIS_SKU', 'Balanced_B0')
param staticWebsite = bool(readEnvironmentVariable('STATIC_WEBSITE', 'false'))
param alertEmail = readEnvironmentVariable('ALERT_EMAIL', '')
param deployerPrincipalId = readEnvironmentVariable('AZURE_PRINCIPAL_ID', '')
