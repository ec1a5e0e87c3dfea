// The app on Azure Container Apps. The ingress of the environment forwards HTTP/1.1 to the gateway's port.

@description('Name of the app.')
param name string

@description('Region.')
param location string

@description('Its tags.')
param tags { *: string }

@description('Resource id of the environment.')
param environmentId string

@description('Resource id of the app\'s identity.')
param identityId string

@description('Environment variables: name and text.')
param settings { *: string }

@description('The image, by tag or digest.')
param image string

@description('Name of the registry whose images the identity may pull: <name>.azurecr.io. Empty: the image is public.')
param registryServer string

@description('The port of the gateway in the container.')
param port int

@description('How long a replica that ends may run, in seconds: the drain, 8 s for requests in flight, and some to spare.')
param gracePeriodSeconds int

@description('Fewest replicas.')
param minReplicas int

@description('Most replicas.')
param maxReplicas int

@description('Domain of the app. Empty: none but the environment\'s.')
param customDomain string

@description('Resource id of the certificate of that domain. Empty: none yet, and the domain has no TLS.')
param certificateId string

var registries = [
  {
    server: registryServer
    identity: identityId
  }
]

var domains = [
  {
    name: customDomain
    bindingType: empty(certificateId) ? 'Disabled' : 'SniEnabled'
    certificateId: empty(certificateId) ? null : certificateId
  }
]

resource app 'Microsoft.App/containerApps@2025-01-01' = {
  name: name
  location: location
  tags: tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    environmentId: environmentId
    workloadProfileName: 'Consumption'
    configuration: {
      // A new revision gets the traffic once it is ready; the old one is then ended.
      activeRevisionsMode: 'Single'
      ingress: {
        external: true
        allowInsecure: false
        targetPort: port
        // HTTP/1.1; browsers have HTTP/2 all the same.
        transport: 'http'
        clientCertificateMode: 'ignore'
        customDomains: empty(customDomain) ? [] : domains
        traffic: [
          {
            latestRevision: true
            weight: 100
          }
        ]
      }
      registries: empty(registryServer) ? [] : registries
    }
    template: {
      terminationGracePeriodSeconds: gracePeriodSeconds
      containers: [
        {
          name: 'cloakroom'
          image: image
          env: [
            for setting in items(settings): {
              name: setting.key
              value: setting.value
            }
          ]
          resources: {
            // Bicep has no fractions.
            cpu: json('0.5')
            memory: '1Gi'
          }
          probes: [
            {
              type: 'Startup'
              httpGet: {
                path: '/health/live'
                port: port
              }
              periodSeconds: 1
              failureThreshold: 10
            }
            {
              type: 'Liveness'
              httpGet: {
                path: '/health/live'
                port: port
              }
              periodSeconds: 10
              timeoutSeconds: 5
              failureThreshold: 3
            }
            {
              type: 'Readiness'
              httpGet: {
                path: '/health/ready'
                port: port
              }
              periodSeconds: 5
              timeoutSeconds: 5
              failureThreshold: 2
            }
          ]
        }
      ]
      scale: {
        minReplicas: minReplicas
        maxReplicas: maxReplicas
        rules: [
          {
            name: 'http'
            http: {
              metadata: {
                // Calls wait for APIs most of the time; the gateway itself rejects more than 1,000.
                concurrentRequests: '200'
              }
            }
          }
        ]
      }
    }
  }
}

@description('What a DNS record asuid.<domain> must have, so that the app may take that domain.')
output domainVerificationId string = app.properties.customDomainVerificationId
