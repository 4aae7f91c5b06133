import { Place } from 'place.bicep'

param place Place

@description('The function app is this identity towards storage, model, telemetry and vault. No key is used between them.')
resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: 'id-darkroom-${place.token}'
  location: place.location
  tags: place.tags
}

output id string = identity.id
output principalId string = identity.properties.principalId
output clientId string = identity.properties.clientId
