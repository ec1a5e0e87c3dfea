// The vault of the key ring, and nothing else in it: who can read it can open sessions. It stays for 90 days
// after a deletion, and nothing can shorten that.

@description('Name of the vault.')
@minLength(3)
@maxLength(24)
param name string

@description('Region.')
param location string

@description('Its tags.')
param tags { *: string }

@description('Name of the app, for the name of the role.')
param appName string

@description('Object id of the app\'s identity.')
param gatewayPrincipalId string

@description('Whether the app may write keys too.')
param mayRotate bool

@description('Resource id of the workspace for the audit log of key reads.')
param workspaceId string

@description('Subnets that may reach the vault, and no other caller then. Empty: any caller may try.')
param subnetIds string[]

var keyVaultSecretsUser = '4633458b-17de-408a-b874-0445c86b69e6'
var here = resourceGroup().id

resource vault 'Microsoft.KeyVault/vaults@2026-02-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: tenant().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    enablePurgeProtection: true
    networkAcls: {
      bypass: 'None'
      defaultAction: empty(subnetIds) ? 'Allow' : 'Deny'
      virtualNetworkRules: [
        for subnetId in subnetIds: {
          id: subnetId
        }
      ]
    }
  }
}

// The built-in role that may write secrets, Key Vault Secrets Officer, may delete them as well. This one may not: what
// the timer does is publish a version and disable one that is retired.
resource keyRotator 'Microsoft.Authorization/roleDefinitions@2022-04-01' = if (mayRotate) {
  name: guid(resourceGroup().id, appName, 'cloakroom key rotator')
  properties: {
    roleName: 'Cloakroom key rotator (${appName}, ${uniqueString(resourceGroup().id)})'
    description: 'Reads, sets and updates secrets, and never deletes one.'
    type: 'CustomRole'
    assignableScopes: [
      here
    ]
    permissions: [
      {
        actions: []
        notActions: []
        dataActions: [
          'Microsoft.KeyVault/vaults/secrets/getSecret/action'
          'Microsoft.KeyVault/vaults/secrets/readMetadata/action'
          'Microsoft.KeyVault/vaults/secrets/setSecret/action'
          'Microsoft.KeyVault/vaults/secrets/update/action'
        ]
        notDataActions: []
      }
    ]
  }
}

resource rotates 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (mayRotate) {
  name: guid(vault.id, gatewayPrincipalId, 'cloakroom key rotator')
  scope: vault
  properties: {
    principalId: gatewayPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', keyRotator.name)
  }
}

resource reads 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!mayRotate) {
  name: guid(vault.id, gatewayPrincipalId, keyVaultSecretsUser)
  scope: vault
  properties: {
    principalId: gatewayPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', keyVaultSecretsUser)
  }
}

resource audit 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  // Apps that share the vault have a workspace each.
  name: 'audit-${appName}'
  scope: vault
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        categoryGroup: 'audit'
        enabled: true
      }
    ]
  }
}

@description('Name of the vault.')
output name string = vault.name

@description('Its address.')
output url string = vault.properties.vaultUri
