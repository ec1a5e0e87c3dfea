// The app registration, for those who may make one by template (Application.ReadWrite.All, or OwnedBy for an app). The
// same by `az` is in docs/deploy-functions.md. Bicep 0.36 or newer fetches the Graph extension by itself.
//
// Once before infra/main.bicep, which needs the client id, and once after it, with the identity that it made:
//
//   az deployment group create -g <group> -f infra/app-registration/main.bicep -p publicOrigin=https://<host>
//   az deployment group create -g <group> -f infra/app-registration/main.bicep -p publicOrigin=https://<host> \
//     identityPrincipalId=<AZURE_IDENTITY_PRINCIPAL_ID>
//
// Without a Bicep compiler, `cargo dev check-infra` knows the types of Graph from a transcription of what is used here.
targetScope = 'resourceGroup'

extension microsoftGraphV1

@description('Scheme and host that browsers see.')
param publicOrigin string

@description('What users see when they are asked to consent.')
param displayName string = 'Cloakroom'

@description('Unique name that identifies the registration at the next deployment. It can never be changed.')
param uniqueName string = 'cloakroom-${uniqueString(resourceGroup().id)}'

@description('Object id of the app\'s managed identity. Empty: no federated credential yet.')
param identityPrincipalId string = ''

@description('Who may sign in: AzureADMyOrg is this tenant alone.')
@allowed([
  'AzureADMyOrg'
  'AzureADMultipleOrgs'
  'AzureADandPersonalMicrosoftAccount'
])
param signInAudience string = 'AzureADMyOrg'

// An origin has no slash at the end; Entra compares redirect URIs exactly.
var origin = endsWith(publicOrigin, '/') ? take(publicOrigin, length(publicOrigin) - 1) : publicOrigin
var microsoftGraph = '00000003-0000-0000-c000-000000000000'
var userRead = 'e1fe6dd8-ba31-4d61-89e7-88639da4683d'

resource registration 'Microsoft.Graph/applications@v1.0' = {
  uniqueName: uniqueName
  displayName: displayName
  signInAudience: signInAudience
  web: {
    // The second is where the provider redirects users after it has signed them out.
    redirectUris: [
      '${origin}/auth/callback'
      '${origin}/auth/logout'
    ]
  }
  requiredResourceAccess: [
    {
      resourceAppId: microsoftGraph
      resourceAccess: [
        {
          id: userRead
          type: 'Scope'
        }
      ]
    }
  ]
}

resource enterpriseApp 'Microsoft.Graph/servicePrincipals@v1.0' = {
  appId: registration.appId
}

// The identity's token is the client's assertion: no secret and no certificate exists.
resource trust 'Microsoft.Graph/applications/federatedIdentityCredentials@v1.0' = if (!empty(identityPrincipalId)) {
  name: '${registration.uniqueName}/function-app'
  description: 'The managed identity of the function app.'
  audiences: [
    'api://AzureADTokenExchange'
  ]
  issuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
  subject: identityPrincipalId
}

@description('Application (client) id: clientId of infra/main.bicep.')
output CLOAKROOM_CLIENT_ID string = registration.appId

@description('Object id of the enterprise application.')
output AZURE_ENTERPRISE_APP_OBJECT_ID string = enterpriseApp.id
