// A virtual network with a subnet for the app alone, so that vault and storage can be closed to all other callers. The
// subnet reaches them by service endpoints: no private addresses, no DNS zones, and nothing to pay. Calls to the
// provider and to APIs go out through it too. Redis has no service endpoint, but a private one, in a subnet of its own.
//
// Once in a subscription, before the first deployment: az provider register --namespace Microsoft.App --wait

@description('Name of the app.')
param appName string

@description('Region.')
param location string

@description('Its tags.')
param tags { *: string }

@description('Its addresses. They matter only if it is ever connected to another network.')
param addressPrefix string = '10.0.0.0/24'

@description('Addresses of the app\'s subnet, among those. Flex Consumption requires at least /27.')
param subnetPrefix string = '10.0.0.0/26'

@description('Whether there is a subnet for private endpoints.')
param hasEndpoints bool

@description('Its addresses.')
param endpointsPrefix string = '10.0.0.64/28'

resource network 'Microsoft.Network/virtualNetworks@2024-07-01' = {
  name: 'vnet-${appName}'
  location: location
  tags: tags
  properties: {
    addressSpace: {
      addressPrefixes: [
        addressPrefix
      ]
    }
  }
}

resource subnet 'Microsoft.Network/virtualNetworks/subnets@2024-07-01' = {
  parent: network
  name: 'app'
  properties: {
    addressPrefix: subnetPrefix
    delegations: [
      {
        name: 'flex'
        properties: {
          serviceName: 'Microsoft.App/environments'
        }
      }
    ]
    serviceEndpoints: [
      {
        service: 'Microsoft.KeyVault'
      }
      {
        service: 'Microsoft.Storage'
      }
    ]
  }
}

// The app's subnet is delegated, so that it cannot have private endpoints.
resource endpoints 'Microsoft.Network/virtualNetworks/subnets@2024-07-01' = if (hasEndpoints) {
  parent: network
  name: 'endpoints'
  properties: {
    addressPrefix: endpointsPrefix
  }
  // Azure changes one subnet of a network at a time.
  dependsOn: [
    subnet
  ]
}

@description('Resource id of the network.')
output id string = network.id

@description('Resource id of the subnet for private endpoints. Empty: there is none.')
output endpointsSubnetId string = hasEndpoints ? endpoints!.id : ''

@description('Resource id of the app\'s subnet.')
output subnetId string = subnet.id
