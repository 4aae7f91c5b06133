import { Place } from 'place.bicep'

param place Place
param identityId string
param identityClientId string
param blobEndpoint string
param queueEndpoint string
param tableEndpoint string
param packageContainer string
param insightsConnectionString string
@description('The subnet that the functions send from; empty: none.')
param subnetId string
param nodeVersion string
param instanceMemoryMB int
param maximumInstanceCount int
param alwaysReadyWorkers int
param isZoneRedundant bool
@description('What the service goes by, beside what this module knows.')
param settings { *: string }

// A zone that fails must leave another instance standing.
var workersReady = isZoneRedundant && alwaysReadyWorkers > 0 ? max(alwaysReadyWorkers, 2) : alwaysReadyWorkers

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: 'plan-darkroom-${place.token}'
  location: place.location
  tags: place.tags
  kind: 'functionapp'
  sku: { name: 'FC1', tier: 'FlexConsumption' }
  properties: { reserved: true, zoneRedundant: isZoneRedundant }
}

resource site 'Microsoft.Web/sites@2025-03-01' = {
  name: 'func-darkroom-${place.token}'
  location: place.location
  // azd finds the app by this tag: it is the service's name in azure.yaml.
  tags: { ...place.tags, 'azd-service-name': 'darkroom' }
  kind: 'functionapp,linux'
  identity: { type: 'UserAssigned', userAssignedIdentities: { '${identityId}': {} } }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    // Without it references are read by an identity that this app does not have.
    keyVaultReferenceIdentity: identityId
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    siteConfig: { minTlsVersion: '1.2' }
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${blobEndpoint}${packageContainer}'
          authentication: { type: 'UserAssignedIdentity', userAssignedIdentityResourceId: identityId }
        }
      }
      runtime: { name: 'node', version: nodeVersion }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
        alwaysReady: workersReady > 0 ? [{ name: 'function:image-work', instanceCount: workersReady }] : []
        // Event streams and synchronous calls stay open for minutes, and do next to nothing.
        triggers: { http: { perInstanceConcurrency: 100 } }
      }
      // Without it every update kills calls that are paid for. Documented, but not in the types of this compiler; it
      // takes effect from the next update on.
      #disable-next-line BCP037
      siteUpdateStrategy: { type: 'RollingUpdate' }
    }
  }

  resource appSettings 'config' = {
    name: 'appsettings'
    properties: {
      ...settings
      AzureWebJobsStorage__blobServiceUri: blobEndpoint
      AzureWebJobsStorage__queueServiceUri: queueEndpoint
      AzureWebJobsStorage__tableServiceUri: tableEndpoint
      AzureWebJobsStorage__credential: 'managedidentity'
      AzureWebJobsStorage__clientId: identityClientId
      APPLICATIONINSIGHTS_CONNECTION_STRING: insightsConnectionString
      APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
      // The host reads a body whole into memory before any key is looked at: `limits.hostBodyBytesMax` of the code.
      FUNCTIONS_REQUEST_BODY_SIZE_LIMIT: '75497472'
      // V8 and glibc otherwise keep much of what is not in use any more.
      ...(instanceMemoryMB == 512
        ? {
            languageWorkers__node__arguments: '--max-semi-space-size=2 --optimize-for-size'
            MALLOC_ARENA_MAX: '2'
          }
        : {})
    }
  }

  // azd deploys with an Entra token: nobody needs a password for the site.
  resource scmPassword 'basicPublishingCredentialsPolicies' = {
    name: 'scm'
    properties: { allow: false }
  }

  resource ftpPassword 'basicPublishingCredentialsPolicies' = {
    name: 'ftp'
    properties: { allow: false }
  }
}

output name string = site.name
output endpoint string = 'https://${site.properties.defaultHostName}'
