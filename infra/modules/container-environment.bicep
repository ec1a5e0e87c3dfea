// The environment of the app on Azure Container Apps, for the gateway alone: apps of one environment reach each other,
// and their names are one site. Its ingress terminates TLS.
//
// Once in a subscription, before the first deployment: az provider register --namespace Microsoft.App --wait

@description('Name of the app.')
param appName string

@description('Region.')
param location string

@description('Its tags.')
param tags { *: string }

@description('Subnet through which the app reaches everything. Empty: none.')
param subnetId string

@description('Resource id of the workspace for the logs.')
param workspaceId string

var network = {
  infrastructureSubnetId: subnetId
  internal: false
}

resource environment 'Microsoft.App/managedEnvironments@2025-01-01' = {
  name: 'cae-${appName}'
  location: location
  tags: tags
  properties: {
    // By the diagnostic settings below: the other way needs a key of the workspace, which has none.
    appLogsConfiguration: {
      destination: 'azure-monitor'
    }
    // The link from the ingress carries sessions, codes and bodies.
    peerTrafficConfiguration: {
      encryption: {
        enabled: true
      }
    }
    vnetConfiguration: empty(subnetId) ? null : network
    workloadProfiles: [
      {
        name: 'Consumption'
        workloadProfileType: 'Consumption'
      }
    ]
  }
}

resource logs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'logs'
  scope: environment
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'ContainerAppConsoleLogs'
        enabled: true
      }
      {
        category: 'ContainerAppSystemLogs'
        enabled: true
      }
    ]
  }
}

@description('Its resource id.')
output id string = environment.id

@description('Its domain: the app is <name>.<domain>.')
output defaultDomain string = environment.properties.defaultDomain
