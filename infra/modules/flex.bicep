// The app on Flex Consumption. The package lies in a blob container that the platform reads by the identity.

@description('Name of the function app.')
param name string

@description('Region.')
param location string

@description('Tags of plan and app.')
param tags { *: string }

@description('Resource id of the app\'s identity.')
param identityId string

@description('App settings: name and text.')
param settings { *: string }

@description('Origins of pages besides the app\'s own.')
param allowedOrigins string[]

@description('Id of the Front Door that alone may call the app. Empty: any caller.')
param frontDoorId string

@description('Address of the container of packages.')
param packageContainerUrl string

@description('Subnet through which the app reaches everything. Empty: none.')
param subnetId string

@description('Memory of an instance in MB.')
param instanceMemoryMB int

@description('Maximum number of instances.')
param maximumInstanceCount int

@description('Instances that are kept started for requests.')
param alwaysReadyInstances int

var alwaysReady = [
  {
    name: 'http'
    instanceCount: alwaysReadyInstances
  }
]

// On this plan the host answers every preflight itself, by this list: calls from an origin that is not in it fail. The
// gateway decides every call again, by CLOAKROOM_ALLOWED_ORIGINS, which is the same list.
var cors = {
  allowedOrigins: allowedOrigins
  supportCredentials: true
}

// The service tag alone would admit the Front Door of any customer; the header has the id of this one.
var frontDoor = [
  {
    name: 'front-door'
    description: 'This Front Door and no other caller.'
    priority: 100
    action: 'Allow'
    tag: 'ServiceTag'
    ipAddress: 'AzureFrontDoor.Backend'
    headers: {
      'x-azure-fdid': [
        frontDoorId
      ]
    }
  }
]

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: 'plan-${name}'
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
  }
}

resource app 'Microsoft.Web/sites@2025-03-01' = {
  // checkov:skip=CKV_AZURE_78: Flex Consumption has no FTP; the policy below still disables its password.
  name: name
  location: location
  // azd finds the app by this tag.
  tags: union(tags, { 'azd-service-name': 'gateway' })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    keyVaultReferenceIdentity: identityId
    httpsOnly: true
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    functionAppConfig: {
      runtime: {
        name: 'custom'
        version: '1.0'
      }
      deployment: {
        storage: {
          type: 'blobContainer'
          value: packageContainerUrl
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
        alwaysReady: alwaysReadyInstances == 0 ? [] : alwaysReady
        triggers: {
          http: {
            // Calls wait for APIs most of the time; the gateway itself rejects more than 90.
            perInstanceConcurrency: 64
          }
        }
      }
    }
    siteConfig: {
      appSettings: [
        for setting in items(settings): {
          name: setting.key
          value: setting.value
        }
      ]
      cors: empty(allowedOrigins) ? null : cors
      http20Enabled: true
      ipSecurityRestrictions: empty(frontDoorId) ? [] : frontDoor
      ipSecurityRestrictionsDefaultAction: empty(frontDoorId) ? 'Allow' : 'Deny'
      minTlsVersion: '1.2'
      // Deployments do not come through Front Door; they sign in.
      scmIpSecurityRestrictionsUseMain: false
      scmMinTlsVersion: '1.2'
    }
  }
}

// Deployments sign in with Entra; there is no publishing password.
resource noPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'scm'
  properties: {
    allow: false
  }
}

resource noFtp 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'ftp'
  properties: {
    allow: false
  }
}

@description('The app under its own name.')
output origin string = 'https://${app.properties.defaultHostName}'
