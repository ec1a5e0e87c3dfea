// Cloakroom on Azure Container Apps, without a secret anywhere: the identity, vault, logs and session store of main.bicep
// (Azure Functions), by the same modules. Deploy into a resource group:
//
//   az deployment group create -g <group> -f infra/container-app.bicep -p infra/container-app.bicepparam
targetScope = 'resourceGroup'

@description('Region of all resources. Empty: the group\'s.')
param location string = ''

@description('Name of the app: lower-case letters, digits and hyphens. Empty: a generated name.')
@maxLength(32)
param appName string = ''

@description('The image, by tag or digest, such as ghcr.io/cloakroom/cloakroom:0.1.0.')
param image string

@description('Name of an Azure Container Registry in this group that has the image. Empty: anyone may pull it.')
@maxLength(50)
param containerRegistry string = ''

@description('Domain of the app, such as app.example.org. Empty: the environment\'s own.')
param customDomain string = ''

@description('Resource id of the certificate of that domain, in the environment. Empty: there is none yet.')
param certificateId string = ''

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

@description('Fewest replicas. Not 0: a replica rotates the keys, once an hour.')
@minValue(1)
@maxValue(30)
param minReplicas int = 2

@description('Most replicas.')
@minValue(1)
@maxValue(100)
param maxReplicas int = 10

@description('Whether the app rotates its keys. If not, a pipeline must, and the app only reads keys.')
param rotateInApp bool = true

@description('Name of the vault, unique in Azure. It holds the key ring and nothing else. Empty: a generated name.')
@maxLength(24)
param keyVaultName string = ''

@description('Region of the vault, where an app of another region shares it. Empty: that of all resources.')
param keyVaultLocation string = ''

@description('Name of the secret whose versions are the key ring.')
param keyName string = 'cloakroom-keys'

@description('Whether the vault is closed to all callers but the app, by a virtual network.')
param virtualNetwork bool = false

@description('Further subnets that may reach the vault: those of other apps that share it.')
param otherSubnetIds string[] = []

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

@description('Further settings of the gateway, such as { CLOAKROOM_SESSION_IDLE: \'15m\' }. LISTEN and DRAIN_DELAY are fixed.')
param gatewaySettings { *: string } = {}

@description('Address for alerts. Empty: no alerts are created.')
param alertEmail string = ''

@description('Object id of the principal that uploads the static website. Empty: none.')
param deployerPrincipalId string = ''

@description('Tags of everything.')
param tags { *: string } = {}

// The port of the image; everything that names one takes it from here.
var port = 8080

// How long a replica that ends still accepts requests: as long as the ingress may take to learn that it ends.
var drainSeconds = 10

var region = empty(location) ? resourceGroup().location : location
var name = empty(appName) ? 'cloakroom-${uniqueString(resourceGroup().id)}' : toLower(appName)
// An origin has no slash at the end, nor has one of the list; browsers and the provider compare exactly.
var listed = replace(replace('${allowedOrigins},', ' ', ''), '/,', ',')
var origins = take(listed, length(listed) - 1)

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

module network 'modules/network.bicep' = if (virtualNetwork) {
  params: {
    appName: name
    location: region
    tags: tags
    hasEndpoints: redis
  }
}

var subnetId = virtualNetwork ? network!.outputs.subnetId : ''
var ownSubnetIds = [
  subnetId
]

module vault 'modules/vault.bicep' = {
  params: {
    name: empty(keyVaultName) ? 'kv-${uniqueString(resourceGroup().id, name)}' : keyVaultName
    location: empty(keyVaultLocation) ? region : keyVaultLocation
    tags: tags
    appName: name
    gatewayPrincipalId: identity.outputs.principalId
    mayRotate: rotateInApp
    workspaceId: monitoring.outputs.workspaceId
    subnetIds: virtualNetwork ? union(ownSubnetIds, otherSubnetIds) : []
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
    subnetId: virtualNetwork ? network!.outputs.endpointsSubnetId : ''
    networkId: virtualNetwork ? network!.outputs.id : ''
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

module registry 'modules/registry-pull.bicep' = if (!empty(containerRegistry)) {
  params: {
    name: containerRegistry
    principalId: identity.outputs.principalId
  }
}

module environment 'modules/container-environment.bicep' = {
  params: {
    appName: name
    location: region
    tags: tags
    subnetId: subnetId
    workspaceId: monitoring.outputs.workspaceId
  }
}

var own = 'https://${name}.${environment.outputs.defaultDomain}'
var domain = empty(customDomain) ? own : 'https://${customDomain}'
var given = empty(publicOrigin) ? domain : publicOrigin
var origin = endsWith(given, '/') ? take(given, length(given) - 1) : given

// What the gateway reads (docs/configuration.md). There is no secret among them: the identity is the credential.
var gateway = {
  AZURE_CLIENT_ID: identity.outputs.clientId
  CLOAKROOM_CLIENT_ID: clientId
  CLOAKROOM_KEY_NAME: keyName
  CLOAKROOM_KEY_VAULT_URL: vault.outputs.url
  CLOAKROOM_PUBLIC_ORIGIN: origin
  CLOAKROOM_TENANT_ID: tenantId
}

var site = staticWebsite ? { CLOAKROOM_SPA: website!.outputs.endpoint } : {}

// By its host the gateway knows that it signs in with its identity: CLOAKROOM_STORE_AUTH stays as it is.
var sessions = redis ? { CLOAKROOM_STORE: store!.outputs.url } : {}

var pages = empty(origins) ? {} : { CLOAKROOM_ALLOWED_ORIGINS: origins }

// Without the right to write keys the rotation could only fail.
var rotation = rotateInApp ? {} : { CLOAKROOM_KEY_ROTATE: 'off' }

// The probes and the grace period depend on these, so that gatewaySettings must not replace them.
var fixed = {
  CLOAKROOM_DRAIN_DELAY: '${drainSeconds}s'
  CLOAKROOM_LISTEN: '0.0.0.0:${port}'
}

module app 'modules/container-app.bicep' = {
  params: {
    name: name
    location: region
    tags: tags
    environmentId: environment.outputs.id
    identityId: identity.outputs.id
    settings: union(gateway, site, sessions, pages, rotation, gatewaySettings, fixed)
    image: image
    registryServer: empty(containerRegistry) ? '' : registry!.outputs.server
    port: port
    gracePeriodSeconds: drainSeconds + 20
    minReplicas: minReplicas
    maxReplicas: maxReplicas
    customDomain: customDomain
    certificateId: certificateId
  }
}

var lines = 'ContainerAppConsoleLogs | where ContainerAppName == \'${name}\' | extend line = parse_json(Log)'

module alerts 'modules/alerts.bicep' = if (!empty(alertEmail)) {
  params: {
    appName: name
    location: region
    tags: tags
    sourceId: monitoring.outputs.workspaceId
    lines: lines
    // The ingress logs no requests; the gateway logs those that it rejects with a 5xx status.
    serverErrors: '${lines} | where line.message == \'request rejected\' and line.level == \'WARN\''
    email: alertEmail
  }
}

@description('Name of the app.')
output AZURE_CONTAINER_APP_NAME string = name

@description('The app under its own name, with or without a custom domain.')
output AZURE_CONTAINER_APP_ORIGIN string = own

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

@description('What the DNS record asuid.<domain> must have, before customDomain is set.')
output DOMAIN_VERIFICATION_ID string = app.outputs.domainVerificationId

@description('Storage account of the static website, empty without one.')
output AZURE_STATIC_WEBSITE_ACCOUNT string = staticWebsite ? website!.outputs.name : ''
