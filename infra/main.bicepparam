// What `azd` and the workflow fill in from the environment; edit it for deployments by hand.
using './main.bicep'

// The app registration's application (client) id. It is required.
param clientId = readEnvironmentVariable('CLOAKROOM_CLIENT_ID')

// Everything below may be left out; main.bicep tells the defaults.
param appName = readEnvironmentVariable('APP_NAME', '')
param publicOrigin = readEnvironmentVariable('PUBLIC_ORIGIN', '')
param location = readEnvironmentVariable('AZURE_LOCATION', 'westeurope')
param hostingPlan = readEnvironmentVariable('HOSTING_PLAN', 'flex')
param rotateInApp = bool(readEnvironmentVariable('ROTATE_IN_APP', 'true'))
param staticWebsite = bool(readEnvironmentVariable('STATIC_WEBSITE', 'false'))
param alertEmail = readEnvironmentVariable('ALERT_EMAIL', '')
param deployerPrincipalId = readEnvironmentVariable('AZURE_PRINCIPAL_ID', '')
