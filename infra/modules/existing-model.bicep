@description('An account that is there already, in the resource group that this is deployed to.')
param accountName string
@description('The deployment that is used; empty: none of it is looked at.')
param deploymentName string
@description('With a key no role is needed.')
param hasKey bool
param identityPrincipalId string
param deployerPrincipalId string

resource account 'Microsoft.CognitiveServices/accounts@2025-09-01' existing = {
  name: accountName

  resource deployment 'deployments' existing = if (!empty(deploymentName)) {
    name: empty(deploymentName) ? 'none' : deploymentName
  }
}

module role 'model-role.bicep' = if (!hasKey) {
  params: {
    accountName: accountName
    identityPrincipalId: identityPrincipalId
    deployerPrincipalId: deployerPrincipalId
  }
}

output endpoint string = account.properties.endpoint
output rateLimits array = empty(deploymentName) ? [] : account::deployment!.properties.?rateLimits ?? []
