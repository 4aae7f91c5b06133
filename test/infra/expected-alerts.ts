import { alertRules } from './alert-events.ts'
import { all, at, only, type Resource, type Wanted } from './found.ts'

/** What decides in a rule whether it is raised, how often, and what of. */
type Expected = {
  readonly severity: number
  readonly evaluationFrequency: 'PT5M' | 'PT15M'
  /** Null: it is resolved by itself when its state ends. Azure refuses a rule that has both. */
  readonly mute: string | null
  readonly by: readonly string[]
}

const state = { severity: 1, evaluationFrequency: 'PT5M', mute: null } as const
const event = { severity: 2, evaluationFrequency: 'PT15M', mute: 'PT30M' } as const

const expected: Readonly<Record<string, Expected>> = {
  'deployment-stopped': { ...state, by: ['pool', 'stopped'] },
  'nothing-moves': { ...state, by: ['pool'] },
  silent: { ...state, by: [] },
  refusals: { ...event, by: ['batch'] },
  'rows-unreadable': { ...event, mute: 'PT2H', by: ['code'] },
  'message-poisoned': { ...event, by: ['queue'] },
  'jobs-rejected': { ...event, severity: 3, by: ['batch'] },
}

const silentQuery = "requests\n| where name == 'rescue' and tostring(success) =~ 'true'"

/** Every property of every rule, but for words: a rule may be switched off, or turned round, by any of them. */
export function alerts(resources: readonly Resource[], wanted: Wanted): void {
  const rules = all(resources, 'Microsoft.Insights/scheduledQueryRules')
  if (rules.length === 0) return
  const group = only(resources, 'Microsoft.Insights/actionGroups')
  wanted(
    'receivers',
    [at(group, 'properties', 'enabled'), at(group, 'properties', 'emailReceivers')],
    [true, [{ name: 'operator', emailAddress: 'operator@example.com', useCommonAlertSchema: true }]],
  )
  const queries = new Map([
    ...alertRules().map(({ name, query }) => [name, query] as const),
    ['silent', silentQuery],
  ])
  const found = new Map(rules.map((rule) => [rule.name.replace(/^alert-|-\w{13}$/g, ''), rule.properties]))
  wanted('alerts', [...found.keys()].toSorted(), Object.keys(expected).toSorted())
  for (const [name, { mute, by, ...often }] of Object.entries(expected)) {
    const { displayName: _, description: __, scopes, ...properties } = found.get(name) ?? {}
    // Its id is known once it is made.
    const isOurLog = /^\["\[reference\(.*'monitoring-.*\.outputs\.insightsId\.value\]"\]$/
    wanted(`the log that ${name} looks at is ours`, isOurLog.test(JSON.stringify(scopes)), true)
    wanted(`the alert ${name}`, properties, {
      enabled: true,
      ...often,
      windowSize: 'PT30M',
      autoMitigate: mute === null,
      ...(mute !== null && { muteActionsDuration: mute }),
      criteria: {
        allOf: [
          {
            // The queries of events are run by a test; here is what they are made to be.
            query: queries.get(name),
            timeAggregation: 'Count',
            ...(name === 'silent'
              ? { operator: 'LessThan', threshold: 10 }
              : { operator: 'GreaterThan', threshold: 0 }),
            dimensions: by.map((fact) => ({ name: fact, operator: 'Include', values: ['*'] })),
            failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 },
          },
        ],
      },
      actions: { actionGroups: [group.id] },
    })
  }
}
