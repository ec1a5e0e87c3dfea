// Parameters from the environment; edit it for what is not there.
using './container-app.bicep'

// The app registration's application (client) id, and the image. They are required.
param clientId = readEnvironmentVariable('CLOAKROOM_CLIENT_ID')
param image = readEnvironmentVariable('IMAGE')

// Everything below is optional; container-app.bicep has the defaults.
param appName = readEnvironmentVariable('APP_NAME', '')
param containerRegistry = readEnvironmentVariable('CONTAINER_REGISTRY', '')
param customDomain = readEnvironmentVariable('CUSTOM_DOMAIN', '')
param certificateId = readEnvironmentVariable('CERTIFICATE_ID', '')
param publicOrigin = readEnvironmentVariable('PUBLIC_ORIGIN', '')
param allowedOrigins = readEnvironmentVariable('ALLOWED_ORIGINS', '')
param location = readEnvironmentVariable('AZURE_LOCATION', '')
param minReplicas = int(readEnvironmentVariable('MIN_REPLICAS', '2'))
param maxReplicas = int(readEnvironmentVariable('MAX_REPLICAS', '10'))
param keyVaultName = readEnvironmentVariable('KEY_VAULT_NAME', '')
param keyVaultLocation = readEnvironmentVariable('KEY_VAULT_LOCATION', '')
param virtualNetwork = bool(readEnvironmentVariable('VIRTUAL_NETWORK', 'false'))
param rotateInApp = bool(readEnvironmentVariable('ROTATE_IN_APP', 'true'))
param redis = bool(readEnvironmentVariable('REDIS', 'false'))
param redisSku = readEnvironmentVariable('REDIS_SKU', 'Balanced_B0')
param staticWebsite = bool(readEnvironmentVariable('STATIC_WEBSITE', 'false'))
param alertEmail = readEnvironmentVariable('ALERT_EMAIL', '')
param deployerPrincipalId = readEnvironmentVariable('AZURE_PRINCIPAL_ID', '')
