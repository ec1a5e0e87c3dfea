// The one identity of the app. Two of them would not separate anything: code in the app can ask for tokens of both.

@description('Its name.')
param name string

@description('Region.')
param location string

@description('Its tags.')
param tags { *: string }

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: name
  location: location
  tags: tags
}

@description('Its resource id.')
output id string = identity.id

@description('Its client id.')
output clientId string = identity.properties.clientId

@description('Its object id.')
output principalId string = identity.properties.principalId
