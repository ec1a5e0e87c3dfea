// The app on Linux Consumption (Y1), which Azure retires on 2028-09-30.
//
// It runs from one blob, app.zip, which the platform reads by the identity. So no shared key is needed, and no file
// share: Linux Consumption is the plan that can do without one. The price: `func azure functionapp publish`,
// `azd deploy` and `az functionapp deployment source config-zip` do not work, since they upload with the connection
// string of AzureWebJobsStorage. A deployment is an upload of the blob, a restart, and a message that makes the platform
// read the triggers again:
//
//   az storage blob upload --account-name <packages> --container-name app-package --name app.zip --file dist/app.zip \
//     --overwrite --auth-mode login
//   az functionapp restart --resource-group <group> --name <app>
//   az rest --method post --uri "<id of the app>/syncfunctiontriggers?api-version=2025-03-01"

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

var platform = {
  FUNCTIONS_EXTENSION_VERSION: '~4'
  FUNCTIONS_WORKER_RUNTIME: 'custom'
  WEBSITE_RUN_FROM_PACKAGE: '${packageContainerUrl}/app.zip'
  WEBSITE_RUN_FROM_PACKAGE_BLOB_MI_RESOURCE_ID: identityId
}

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
    name: 'Y1'
    tier: 'Dynamic'
  }
  properties: {
    reserved: true
  }
}

resource app 'Microsoft.Web/sites@2025-03-01' = {
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
    reserved: true
    siteConfig: {
      appSettings: [
        for setting in items(union(platform, settings)): {
          name: setting.key
          value: setting.value
        }
      ]
      cors: empty(allowedOrigins) ? null : cors
      ftpsState: 'Disabled'
      http20Enabled: true
      ipSecurityRestrictions: empty(frontDoorId) ? [] : frontDoor
      ipSecurityRestrictionsDefaultAction: empty(frontDoorId) ? 'Allow' : 'Deny'
      linuxFxVersion: ''
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
