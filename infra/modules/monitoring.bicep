import { Place } from 'place.bicep'
import { roles } from 'roles.bicep'

param place Place
param identityPrincipalId string
param retentionDays int
@description('A bound on what logs may cost in a day; 0: none. Beyond it nothing is seen until the next day, alerts included.')
param gbPerDay int

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' = {
  name: 'log-darkroom-${place.token}'
  location: place.location
  tags: place.tags
  properties: {
    sku: { name: 'PerGB2018' }
    retentionInDays: retentionDays
    workspaceCapping: { dailyQuotaGb: gbPerDay == 0 ? -1 : gbPerDay }
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: 'appi-darkroom-${place.token}'
  location: place.location
  tags: place.tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    // Only identities send: who knows the connection string alone cannot.
    DisableLocalAuth: true
  }
}

resource publisher 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(insights.id, identityPrincipalId, roles.monitoringMetricsPublisher)
  scope: insights
  properties: {
    principalId: identityPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles.monitoringMetricsPublisher
    )
  }
}

output insightsId string = insights.id
output workspaceId string = workspace.id
output connectionString string = insights.properties.ConnectionString
