// Sessions in Azure Managed Redis (docs/store.md). What is stored there opens only with the cookie and a key of the
// ring. The app signs in with its identity; there are no access keys. Not in US Government and China, which have Azure
// Cache for Redis instead.

@description('Name of the cluster, unique in its region.')
@maxLength(60)
param name string

@description('Name of the app.')
param appName string

@description('Region.')
param location string

@description('Its tags.')
param tags { *: string }

@description('Its size, and so its price.')
param sku string

@description('Object id of the app\'s identity.')
param gatewayPrincipalId string

@description('Subnet of its private endpoint, and no other way in then. Empty: any caller may try.')
param subnetId string

@description('The virtual network of that subnet. Empty: none.')
param networkId string

var closed = !empty(subnetId)

resource cluster 'Microsoft.Cache/redisEnterprise@2025-07-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: sku
  }
  properties: {
    // Without a replica every maintenance would end all sessions.
    highAvailability: 'Enabled'
    minimumTlsVersion: '1.2'
    publicNetworkAccess: closed ? 'Disabled' : 'Enabled'
  }
}

resource database 'Microsoft.Cache/redisEnterprise/databases@2025-07-01' = {
  parent: cluster
  name: 'default'
  properties: {
    accessKeysAuthentication: 'Disabled'
    clientProtocol: 'Encrypted'
    clusteringPolicy: 'OSSCluster'
    // Sessions that are evicted would end before their time, and sessions that have ended could be moved again.
    evictionPolicy: 'NoEviction'
    port: 10000
  }
}

// There is one policy, with all commands.
resource gateway 'Microsoft.Cache/redisEnterprise/databases/accessPolicyAssignments@2025-07-01' = {
  parent: database
  name: 'gateway'
  properties: {
    accessPolicyName: 'default'
    user: {
      objectId: gatewayPrincipalId
    }
  }
}

resource endpoint 'Microsoft.Network/privateEndpoints@2024-07-01' = if (closed) {
  name: 'pe-${name}'
  location: location
  tags: tags
  properties: {
    subnet: {
      id: subnetId
    }
    privateLinkServiceConnections: [
      {
        name: 'redis'
        properties: {
          privateLinkServiceId: cluster.id
          groupIds: [
            'redisEnterprise'
          ]
        }
      }
    ]
  }
  // Azure changes one thing of a cluster at a time.
  dependsOn: [
    gateway
  ]
}

// In the network the name of the cluster has the address of the endpoint. Apps of one group share the zone.
resource zone 'Microsoft.Network/privateDnsZones@2024-06-01' = if (closed) {
  name: 'privatelink.redis.azure.net'
  location: 'global'
  tags: tags
}

resource link 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = if (closed) {
  parent: zone
  name: 'vnet-${appName}'
  location: 'global'
  tags: tags
  properties: {
    registrationEnabled: false
    virtualNetwork: {
      id: networkId
    }
  }
}

resource records 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2024-07-01' = if (closed) {
  parent: endpoint
  name: 'default'
  properties: {
    privateDnsZoneConfigs: [
      {
        name: 'redis'
        properties: {
          privateDnsZoneId: zone!.id
        }
      }
    ]
  }
}

@description('Its address for the gateway, which signs in by the host\'s name with its identity.')
output url string = 'rediss://${cluster.properties.hostName}:${database.properties.port}'
