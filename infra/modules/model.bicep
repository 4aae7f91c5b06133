import { Place } from 'place.bicep'

param place Place
@description('Another one after each `azd down`: a deleted account keeps its name for two days.')
param accountName string
param identityPrincipalId string
param deployerPrincipalId string
param modelName string
param modelVersion string
param deploymentName string
param skuName string
param capacity int
param workspaceId string

resource account 'Microsoft.CognitiveServices/accounts@2025-09-01' = {
  name: accountName
  location: place.location
  tags: place.tags
  kind: 'OpenAI'
  sku: { name: 'S0' }
  properties: {
    // Entra ID is taken only at an address of the account's own.
    customSubDomainName: accountName
    disableLocalAuth: true
    publicNetworkAccess: 'Enabled'
    networkAcls: { defaultAction: 'Allow' }
  }
}

resource deployment 'Microsoft.CognitiveServices/accounts/deployments@2025-09-01' = {
  parent: account
  name: deploymentName
  sku: { name: skuName, capacity: capacity }
  properties: {
    model: { format: 'OpenAI', name: modelName, version: modelVersion }
    // Another version would take other parameters, and cost something else.
    versionUpgradeOption: 'NoAutoUpgrade'
  }
}

module role 'model-role.bicep' = {
  params: {
    accountName: account.name
    identityPrincipalId: identityPrincipalId
    deployerPrincipalId: deployerPrincipalId
  }
}

// Figures only: no prompt is in them.
resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'metrics'
  scope: account
  properties: {
    workspaceId: workspaceId
    metrics: [{ category: 'AllMetrics', enabled: true }]
  }
}

output endpoint string = account.properties.endpoint
@description('What the deployment allows, as Azure says it: its capacity is no number of requests.')
output rateLimits array = deployment.properties.?rateLimits ?? []
