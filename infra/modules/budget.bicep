import { Place } from 'place.bicep'

param place Place
@description('In the currency of the subscription, a month.')
param amount int
@description('Who is told, beside the owners of the resource group; empty: nobody else.')
param email string
@description('First day of the budget, as it was when it was made; empty: it is made now.')
param start string
@description('Azure takes no other start for a new budget, and no change of it later.')
param thisMonth string = utcNow('yyyy-MM-01')

var startDate = empty(start) ? thisMonth : start
var receivers = { contactEmails: empty(email) ? [] : [email], contactRoles: ['Owner'] }

resource budget 'Microsoft.Consumption/budgets@2024-08-01' = {
  name: 'budget-darkroom-${place.token}'
  properties: {
    amount: amount
    category: 'Cost'
    timeGrain: 'Monthly'
    timePeriod: { startDate: startDate }
    notifications: {
      actual80: {
        enabled: true
        operator: 'GreaterThan'
        threshold: 80
        thresholdType: 'Actual'
        ...receivers
      }
      forecast100: {
        enabled: true
        operator: 'GreaterThan'
        threshold: 100
        thresholdType: 'Forecasted'
        ...receivers
      }
    }
  }
}

output start string = startDate
