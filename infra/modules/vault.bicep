import { Place } from 'place.bicep'
import { roles } from 'roles.bicep'

@export()
@description('What the secret of a setting is called in a vault, whose names have no underscores and no dots.')
func secretName(setting string) string => toLower(replace(replace(setting, '_', '-'), '.', '-'))

param place Place
@description('Another one after each `azd down`: a deleted vault keeps its name for a week.')
param name string
param identityPrincipalId string
@secure()
param webhookSecrets string
@secure()
param modelApiKey string
@description('Keys of deployments, by the names of their settings.')
@secure()
param deploymentKeys object
param deploymentKeySettings string[]

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' = {
  name: name
  location: place.location
  tags: place.tags
  properties: {
    tenantId: tenant().tenantId
    sku: { family: 'A', name: 'standard' }
    enableRbacAuthorization: true
    // Without purge protection, so that `azd down --purge` can remove it for good.
    enableSoftDelete: true
    softDeleteRetentionInDays: 7
  }

  resource webhooks 'secrets' = if (!empty(webhookSecrets)) {
    name: secretName('WEBHOOK_SECRETS')
    properties: { value: webhookSecrets }
  }

  resource modelKey 'secrets' = if (!empty(modelApiKey)) {
    name: secretName('AZURE_OPENAI_API_KEY')
    properties: { value: modelApiKey }
  }

  resource keys 'secrets' = [
    for setting in deploymentKeySettings: {
      name: secretName(setting)
      properties: {
        value: deploymentKeys[?setting] ?? fail('deploymentKeys: nothing found for ${setting}, which imageDeployments names')
      }
    }
  ]
}

resource reader 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, identityPrincipalId, roles.keyVaultSecretsUser)
  scope: vault
  properties: {
    principalId: identityPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.keyVaultSecretsUser)
  }
}
