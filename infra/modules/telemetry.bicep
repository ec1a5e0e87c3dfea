// Application Insights. Telemetry comes in by the identity alone: the connection string is an address, not a credential.

@description('Name of the app.')
param appName string

@description('Region.')
param location string

@description('Its tags.')
param tags { *: string }

@description('Resource id of the workspace that has the data.')
param workspaceId string

@description('Object id of the principal that sends telemetry.')
param publisherPrincipalId string

var monitoringMetricsPublisher = '3913510d-42f4-4e42-8a64-420c390055eb'

resource component 'Microsoft.Insights/components@2020-02-02' = {
  name: 'appi-${appName}'
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspaceId
    DisableLocalAuth: true
  }
}

resource publisher 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(component.id, publisherPrincipalId, monitoringMetricsPublisher)
  scope: component
  properties: {
    principalId: publisherPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', monitoringMetricsPublisher)
  }
}

@description('Where telemetry goes.')
output connectionString string = component.properties.ConnectionString

@description('Resource id of Application Insights.')
output componentId string = component.id
