// The package that the app runs, in an account of its own: the app may do anything in the host's storage, but here only
// what its plan needs. Linux Consumption reads the package and no more. On Flex Consumption the platform uploads it with
// the app's identity, so code in the app could replace it; replaced versions stay, and who wrote is logged.

@description('Name of the account.')
@minLength(3)
@maxLength(24)
param name string

@description('Region.')
param location string

@description('Its tags.')
param tags { *: string }

@description('Object id of the app\'s identity.')
param readerPrincipalId string

@description('Whether the platform uploads packages with that identity.')
param mayUpload bool

@description('Object id of the principal that uploads packages manually. Empty: none.')
param uploaderPrincipalId string

@description('The only subnet that may reach the account. Empty: any caller may try.')
param subnetId string

@description('Resource id of the workspace for the log of uploads.')
param workspaceId string

var packageContainer = 'app-package'
var storageBlobDataContributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
var storageBlobDataReader = '2a2b9908-6ea1-4ae2-8e65-a410df84e7d1'
var appRole = mayUpload ? storageBlobDataContributor : storageBlobDataReader
var appSubnet = [
  {
    id: subnetId
    action: 'Allow'
  }
]

resource account 'Microsoft.Storage/storageAccounts@2025-01-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: 'Standard_LRS'
  }
  properties: {
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: empty(subnetId) ? 'Allow' : 'Deny'
      virtualNetworkRules: empty(subnetId) ? [] : appSubnet
    }
    supportsHttpsTrafficOnly: true
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-01-01' = {
  parent: account
  name: 'default'
  properties: {
    isVersioningEnabled: true
    deleteRetentionPolicy: {
      enabled: true
      days: 30
    }
  }
}

resource packages 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-01-01' = {
  parent: blobs
  name: packageContainer
  properties: {
    publicAccess: 'None'
  }
}

resource app 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, readerPrincipalId, appRole)
  scope: account
  properties: {
    principalId: readerPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', appRole)
  }
}

resource uploader 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(uploaderPrincipalId)) {
  name: guid(packages.id, uploaderPrincipalId, storageBlobDataContributor)
  scope: packages
  properties: {
    principalId: uploaderPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', storageBlobDataContributor)
  }
}

resource uploads 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'uploads'
  scope: blobs
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'StorageWrite'
        enabled: true
      }
      {
        category: 'StorageDelete'
        enabled: true
      }
    ]
  }
}

@description('Name of the account.')
output name string = account.name

@description('Address of the container of packages.')
output containerUrl string = '${account.properties.primaryEndpoints.blob}${packages.name}'
