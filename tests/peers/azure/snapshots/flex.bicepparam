// The deployment whose snapshot is compared: flex, with every option of the gateway.
using '../../../../infra/main.bicep'

param clientId = '33333333-3333-3333-3333-333333333333'
param hostingPlan = 'flex'
param appName = 'cloakroom-example'
param publicOrigin = 'https://app.example.org'
param allowedOrigins = 'https://www.example.org'
param alertEmail = 'operators@example.org'
param deployerPrincipalId = '44444444-4444-4444-4444-444444444444'
param gatewaySettings = {
  CLOAKROOM_SESSION_IDLE: '15m'
}
param staticWebsite = true
param redis = true
param tags = {
  purpose: 'snapshot'
}
