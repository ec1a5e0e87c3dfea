// Cloakroom on Azure Functions, without a secret anywhere: one user-assigned identity opens the vault, the storage and
// the telemetry, and is itself the gateway's client credential (a federated identity credential of the app
// registration). Deploy into a resource group:
//
//   az deployment group create -g <group> -f infra/main.bicep -p infra/main.bicepparam
//
// Written in plain resources, without modules of a registry, so that `cargo dev check-infra` can check every type
// offline.
targetScope = 'resourceGroup'

@description('Region of all resources. Empty: the group\'s.')
param location string = ''

// Azure allows 60 characters for a plan, which is named plan-<name> here.
@description('Name of the function app, unique in Azure: it becomes <name>.azurewebsites.net. Empty: a generated name.')
@maxLength(55)
param appName string = ''

@description('Scheme and host that browsers see; the redirect URI is this and /auth/callback. Empty: the app\'s own.')
param publicOrigin string = ''

@description('Origins of pages besides publicOrigin that may call the gateway, comma-separated. Empty: none.')
param allowedOrigins string = ''

@description('Entra tenant whose users sign in.')
param tenantId string = tenant().tenantId

@description('Application (client) id of the app registration. No secret belongs to it.')
@minLength(36)
@maxLength(36)
param clientId string

@description('flex: Flex Consumption. consumption: Linux Consumption, which Azure retires on 2028-09-30.')
@allowed([
  'flex'
  'consumption'
])
param hostingPlan string = 'flex'

@description('Memory of an instance in MB (flex only).')
@allowed([
  512
  2048
  4096
])
param instanceMemoryMB int = 512

@description('Maximum number of instances (flex only).')
@minValue(40)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('Instances that are kept started for requests, and billed for it (flex only). 0 scales to zero.')
@minValue(0)
@maxValue(20)
param alwaysReadyInstances int = 0

@description('Whether the app rotates its keys by its own timer. If not, a pipeline must, and the app only reads keys.')
param rotateInApp bool = true

@description('Name of the vault, unique in Azure. It holds the key ring and nothing else. Empty: a generated name.')
@maxLength(24)
param keyVaultName string = ''

@description('Region of the vault, where an app of another region shares it. Empty: that of all resources.')
param keyVaultLocation string = ''

@description('Name of the secret whose versions are the key ring.')
param keyName string = 'cloakroom-keys'

@description('Whether vault and storage are closed to all callers but the app, by a virtual network (flex only).')
param virtualNetwork bool = false

@description('Further subnets that may reach the vault: those of other apps that share it.')
param otherSubnetIds string[] = []

@description('Id of the Front Door that alone may call the app: frontDoorId of its profile. Empty: any caller.')
param frontDoorId string = ''

@description('Whether to make an Azure Managed Redis and store sessions there. It is billed by the hour.')
param redis bool = false

@description('Size of that Redis: B0 has half a gigabyte, B1 one, and so on.')
@allowed([
  'Balanced_B0'
  'Balanced_B1'
  'Balanced_B3'
  'Balanced_B5'
  'Balanced_B10'
])
param redisSku string = 'Balanced_B0'

@description('Whether to make a storage account for the SPA, which the gateway then fronts.')
param staticWebsite bool = false

@description('Further settings of the gateway, such as { CLOAKROOM_SESSION_IDLE: \'15m\' }.')
param gatewaySettings { *: string } = {}

@description('Address for alerts. Empty: no alerts are created.')
param alertEmail string = ''

@description('Object id of the principal that uploads the static website, or on consumption the package. Empty: none.')
param deployerPrincipalId string = ''

@description('Tags of everything.')
param tags { *: string } = {}

var isFlex = hostingPlan == 'flex'
// Empty means the default: so main.bicepparam and `az` can pass what is not set.
var region = empty(location) ? resourceGroup().location : location
var name = empty(appName) ? 'cloakroom-${uniqueString(resourceGroup().id)}' : appName
var given = empty(publicOrigin) ? 'https://${name}.azurewebsites.net' : publicOrigin
// An origin has no slash at the end, nor has one of the list; browsers and the provider compare exactly.
var origin = endsWith(given, '/') ? take(given, length(given) - 1) : given
var listed = replace(replace('${allowedOrigins},', ' ', ''), '/,', ',')
var origins = take(listed, length(listed) - 1)

// Silence would leave vault and storage open.
var closed = virtualNetwork && !isFlex ? fail('virtualNetwork needs hostingPlan=flex') : virtualNetwork

module identity 'modules/identity.bicep' = {
  params: {
    name: 'id-${name}'
    location: region
    tags: tags
  }
}

module monitoring 'modules/monitoring.bicep' = {
  params: {
    appName: name
    location: region
    tags: tags
  }
}

module telemetry 'modules/telemetry.bicep' = {
  params: {
    appName: name
    location: region
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    publisherPrincipalId: identity.outputs.principalId
  }
}

module network 'modules/network.bicep' = if (closed) {
  params: {
    appName: name
    location: region
    tags: tags
    hasEndpoints: redis
  }
}

var subnetId = closed ? network!.outputs.subnetId : ''
var ownSubnetIds = [
  subnetId
]

module storage 'modules/storage.bicep' = {
  params: {
    name: 'st${uniqueString(resourceGroup().id, name)}'
    location: region
    tags: tags
    ownerPrincipalId: identity.outputs.principalId
    subnetId: subnetId
  }
}

module packages 'modules/packages.bicep' = {
  params: {
    name: 'pk${uniqueString(resourceGroup().id, name)}'
    location: region
    tags: tags
    readerPrincipalId: identity.outputs.principalId
    mayUpload: isFlex
    uploaderPrincipalId: isFlex ? '' : deployerPrincipalId
    subnetId: subnetId
    workspaceId: monitoring.outputs.workspaceId
  }
}

module vault 'modules/vault.bicep' = {
  params: {
    name: empty(keyVaultName) ? 'kv-${uniqueString(resourceGroup().id, name)}' : keyVaultName
    location: empty(keyVaultLocation) ? region : keyVaultLocation
    tags: tags
    appName: name
    gatewayPrincipalId: identity.outputs.principalId
    mayRotate: rotateInApp
    workspaceId: monitoring.outputs.workspaceId
    subnetIds: closed ? union(ownSubnetIds, otherSubnetIds) : []
  }
}

module store 'modules/redis.bicep' = if (redis) {
  params: {
    name: 'redis-${uniqueString(resourceGroup().id, name)}'
    appName: name
    location: region
    tags: tags
    sku: redisSku
    gatewayPrincipalId: identity.outputs.principalId
    subnetId: closed ? network!.outputs.endpointsSubnetId : ''
    networkId: closed ? network!.outputs.id : ''
  }
}

module website 'modules/static-website.bicep' = if (staticWebsite) {
  params: {
    name: 'web${uniqueString(resourceGroup().id, name)}'
    location: region
    tags: tags
    uploaderPrincipalId: deployerPrincipalId
  }
}

// What the gateway reads (docs/configuration.md). There is no secret among them: the identity is the credential.
var gateway = {
  AZURE_CLIENT_ID: identity.outputs.clientId
  CLOAKROOM_CLIENT_ID: clientId
  CLOAKROOM_KEY_NAME: keyName
  CLOAKROOM_KEY_VAULT_URL: vault.outputs.url
  CLOAKROOM_PUBLIC_ORIGIN: origin
  CLOAKROOM_TENANT_ID: tenantId
}

// What the host reads. Blobs are all that HTTP and timer triggers need of its storage.
var host = {
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identity.outputs.clientId};Authorization=AAD'
  APPLICATIONINSIGHTS_CONNECTION_STRING: telemetry.outputs.connectionString
  AzureWebJobsDisableHomepage: 'true'
  AzureWebJobsStorage__blobServiceUri: storage.outputs.blobEndpoint
  AzureWebJobsStorage__clientId: identity.outputs.clientId
  AzureWebJobsStorage__credential: 'managedidentity'
}

var site = staticWebsite ? { CLOAKROOM_SPA: website!.outputs.endpoint } : {}

// By its host the gateway knows that it signs in with its identity: CLOAKROOM_STORE_AUTH stays as it is.
var sessions = redis ? { CLOAKROOM_STORE: store!.outputs.url } : {}

var pages = empty(origins) ? {} : { CLOAKROOM_ALLOWED_ORIGINS: origins }

// Without the right to write keys the timer could only fail.
var timer = rotateInApp ? {} : { 'AzureWebJobs.rotate_keys.Disabled': 'true' }

var settings = union(host, gateway, site, sessions, pages, timer, gatewaySettings)

module flex 'modules/flex.bicep' = if (isFlex) {
  params: {
    name: name
    location: region
    tags: tags
    identityId: identity.outputs.id
    settings: settings
    allowedOrigins: empty(origins) ? [] : split(origins, ',')
    frontDoorId: frontDoorId
    packageContainerUrl: packages.outputs.containerUrl
    subnetId: subnetId
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    alwaysReadyInstances: alwaysReadyInstances
  }
}

module consumption 'modules/consumption.bicep' = if (!isFlex) {
  params: {
    name: name
    location: region
    tags: tags
    identityId: identity.outputs.id
    settings: settings
    allowedOrigins: empty(origins) ? [] : split(origins, ',')
    frontDoorId: frontDoorId
    packageContainerUrl: packages.outputs.containerUrl
  }
}

module alerts 'modules/alerts.bicep' = if (!empty(alertEmail)) {
  params: {
    appName: name
    location: region
    tags: tags
    sourceId: telemetry.outputs.componentId
    lines: 'traces | extend line = parse_json(message)'
    // A request that was sampled stands for itemCount of them.
    serverErrors: 'requests | where toint(resultCode) >= 500 | mv-expand one = range(1, itemCount)'
    email: alertEmail
  }
}

@description('Name of the function app.')
output AZURE_FUNCTION_APP_NAME string = name

@description('The app under its own name, with or without a custom domain.')
output AZURE_FUNCTION_APP_ORIGIN string = isFlex ? flex!.outputs.origin : consumption!.outputs.origin

@description('Name of the vault.')
output AZURE_KEY_VAULT_NAME string = vault.outputs.name

@description('Client id of the identity: AZURE_CLIENT_ID of the app.')
output AZURE_IDENTITY_CLIENT_ID string = identity.outputs.clientId

@description('Object id of the identity: the subject of the federated identity credential.')
output AZURE_IDENTITY_PRINCIPAL_ID string = identity.outputs.principalId

@description('The resource group.')
output AZURE_RESOURCE_GROUP string = resourceGroup().name

@description('Where browsers go. The app registration needs this with /auth/callback and with /auth/logout.')
output CLOAKROOM_PUBLIC_ORIGIN string = origin

@description('Storage account of the static website, empty without one.')
output AZURE_STATIC_WEBSITE_ACCOUNT string = staticWebsite ? website!.outputs.name : ''

@description('Storage account of the host.')
output AZURE_STORAGE_ACCOUNT string = storage.outputs.name

@description('Storage account of the package.')
output AZURE_PACKAGE_ACCOUNT string = packages.outputs.name
