// The deployment to Container Apps whose snapshot is compared: closed, with every option of the gateway.
using '../../../../infra/container-app.bicep'

param clientId = '33333333-3333-3333-3333-333333333333'
param image = 'example.azurecr.io/cloakroom:0.1.0'
param appName = 'cloakroom-example'
param containerRegistry = 'example'
param customDomain = 'app.example.org'
param allowedOrigins = 'https://www.example.org'
param alertEmail = 'operators@example.org'
param deployerPrincipalId = '44444444-4444-4444-4444-444444444444'
param gatewaySettings = {
  CLOAKROOM_SESSION_IDLE: '15m'
}
param staticWebsite = true
param redis = true
param virtualNetwork = true
param tags = {
  purpose: 'snapshot'
}
