import { roles } from 'roles.bicep'

param accountName string
param identityPrincipalId string
@description('The person who deploys; empty: nobody.')
param deployerPrincipalId string

resource account 'Microsoft.CognitiveServices/accounts@2025-09-01' existing = {
  name: accountName
}

var roleDefinitionId = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  roles.cognitiveServicesOpenAIUser
)

resource identityRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, identityPrincipalId, roles.cognitiveServicesOpenAIUser)
  scope: account
  properties: {
    principalId: identityPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: roleDefinitionId
  }
}

resource deployerRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(deployerPrincipalId)) {
  name: guid(account.id, deployerPrincipalId, roles.cognitiveServicesOpenAIUser)
  scope: account
  properties: { principalId: deployerPrincipalId, roleDefinitionId: roleDefinitionId }
}
