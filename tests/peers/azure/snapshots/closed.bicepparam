// The deployment whose snapshot is compared: flex in a virtual network, behind Front Door.
using '../../../../infra/main.bicep'

param clientId = '33333333-3333-3333-3333-333333333333'
param hostingPlan = 'flex'
param appName = 'cloakroom-example'
param publicOrigin = 'https://app.example.org'
param frontDoorId = '55555555-5555-5555-5555-555555555555'
param virtualNetwork = true
param otherSubnetIds = [
  '/subscriptions/22222222-2222-2222-2222-222222222222/resourceGroups/other/providers/Microsoft.Network/virtualNetworks/vnet-other/subnets/app'
]
param redis = true
param tags = {
  purpose: 'snapshot'
}
