import type { Break } from './breaks.ts'

type Changed = (properties: any) => object

const ofRule: Readonly<Record<string, Changed>> = {
  'is switched off': () => ({ enabled: false }),
  'reaches nobody': () => ({ actions: { actionGroups: [] } }),
  'looks at another log': () => ({ scopes: [] }),
  'is looked at once a day': () => ({ evaluationFrequency: 'P1D' }),
  'looks at a minute': () => ({ windowSize: 'PT1M' }),
  'is resolved in the other way': ({ autoMitigate }) => ({ autoMitigate: autoMitigate !== true }),
  'is mute for a day': () => ({ muteActionsDuration: 'P1D' }),
}

const ofCriteria: Readonly<Record<string, Changed>> = {
  'is turned round': ({ operator }) => ({
    operator: operator === 'LessThan' ? 'GreaterThan' : 'LessThan',
  }),
  'waits for a thousand lines': () => ({ threshold: 1_000 }),
  'counts otherwise': () => ({ timeAggregation: 'Minimum' }),
  'asks something else': ({ query }) => ({ query: `${query}\n| where 1 == 2` }),
  'takes the second batch, queue or pool for the first': ({ dimensions }) => ({
    dimensions: dimensions.length === 0 ? ['x'] : [],
  }),
  'waits for several looks': () => ({
    failingPeriods: { numberOfEvaluationPeriods: 6, minFailingPeriodsToAlert: 6 },
  }),
}

const alerts = [
  'deployment-stopped',
  'nothing-moves',
  'silent',
  'refusals',
  'rows-unreadable',
  'message-poisoned',
  'jobs-rejected',
] as const

/** Whatever keeps one alert from being raised, or from being told of: of each alert by itself. */
export const alertBreaks: readonly Break[] = alerts.flatMap((alert) => [
  ...Object.entries(ofRule).map(([how, changed]) =>
    breakOf(alert, how, (properties) => Object.assign(properties, changed(properties))),
  ),
  ...Object.entries(ofCriteria).map(([how, changed]) =>
    breakOf(alert, how, ({ criteria }) => Object.assign(criteria.allOf[0], changed(criteria.allOf[0]))),
  ),
])

function breakOf(alert: string, how: string, change: (properties: any) => void): Break {
  return {
    what: `the alert ${alert} ${how}`,
    set: 'all',
    change: ({ predictedResources }) =>
      change(predictedResources.find(({ name }) => name.startsWith(`alert-${alert}-`))!.properties),
  }
}
