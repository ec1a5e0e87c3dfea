// Storage for the SPA. The switch that makes a website of it belongs to the data plane and is not in any template:
//
//   az storage blob service-properties update --account-name <name> --auth-mode login --static-website \
//     --index-document index.html --404-document index.html
//
// Browsers do not come here: the gateway fetches the files, so that page and gateway share one origin. What a website
// serves is public by its nature.

@description('Name of the account.')
@minLength(3)
@maxLength(24)
param name string

@description('Region.')
param location string

@description('Its tags.')
param tags { *: string }

@description('Object id of the principal that uploads the files. Empty: none.')
param uploaderPrincipalId string

var storageBlobDataContributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'

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
    supportsHttpsTrafficOnly: true
  }
}

resource uploader 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(uploaderPrincipalId)) {
  name: guid(account.id, uploaderPrincipalId, storageBlobDataContributor)
  scope: account
  properties: {
    principalId: uploaderPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', storageBlobDataContributor)
  }
}

@description('Name of the account.')
output name string = account.name

@description('Address of the website.')
output endpoint string = account.properties.primaryEndpoints.web
