import { deploymentUnder, type Conditions, type Size } from './conditions.ts'
import { say, untilDone } from './progress.ts'
import { measure, type Measured } from './requests.ts'
import type { Runner, Running, State } from './runners/runner.ts'
import { World, type Deployment } from './world.ts'

export type Plan = { readonly runner: Runner; readonly conditions: Conditions }

export type Run = Plan & Outcome

export type Outcome =
  | ({ readonly kind: 'measured'; readonly jobs: number; readonly isCutOff: boolean } & Measured & State)
  /** It did not start, or its process broke. */
  | { readonly kind: 'broken'; readonly why: string }

/**
 * Runs side by side, each with a deployment of its own. All begin at the same moment, when the last of them is ready,
 * and end at the bound; one that breaks leaves the others alone.
 */
export async function runLot(
  what: string,
  plans: readonly Plan[],
  { jobs, limitMs, deploymentsPerProcess }: Size & { readonly deploymentsPerProcess: number },
): Promise<readonly Run[]> {
  await using world = new World()
  const deployments: Deployment[] = []
  for (let first = 0; first < plans.length; first += deploymentsPerProcess) {
    const some = plans.slice(first, first + deploymentsPerProcess)
    deployments.push(...(await world.deployments(some.map(({ conditions }) => deploymentUnder(conditions)))))
  }
  const entries = plans.map((plan, index) => newEntry(plan, deployments[index], jobs))
  try {
    await Promise.all(entries.map(async (entry) => entry.prepare()))
    await Promise.all(entries.map(async (entry) => entry.go()))
    const endsAt = performance.now() + limitMs
    await untilDone({ what, total: plans.length, everyMs: 1_000, limitMs: limitMs + 60_000 }, async () => {
      const isCutOff = performance.now() > endsAt
      await Promise.all(entries.map(async (entry) => entry.look(isCutOff)))
      return entries.filter(({ outcome }) => outcome() !== undefined).length
    })
  } finally {
    await Promise.all(entries.map(async (entry) => entry.end()))
  }
  return entries.map(({ plan, outcome }) => ({
    ...plan,
    ...(outcome() ?? { kind: 'broken', why: 'it did not come to an end' }),
  }))
}

type Entry = {
  readonly plan: Plan
  readonly outcome: () => Outcome | undefined
  prepare(): Promise<void>
  go(): Promise<void>
  look(isCutOff: boolean): Promise<void>
  end(): Promise<void>
}

function newEntry(plan: Plan, deployment: Deployment | undefined, jobs: number): Entry {
  const { runner, conditions } = plan
  let running: Running | undefined
  let outcome: Outcome | undefined

  async function guarded(step: () => Promise<void>): Promise<void> {
    if (outcome !== undefined) return
    try {
      await step()
    } catch (error) {
      outcome = { kind: 'broken', why: error instanceof Error ? error.message : String(error) }
      say(`${runner.name}: ${outcome.why}`)
    }
    if (outcome !== undefined) await end()
  }

  async function end(): Promise<void> {
    await running?.[Symbol.asyncDispose]()
    running = undefined
  }

  return {
    plan,
    outcome: () => outcome,
    prepare: async () =>
      guarded(async () => {
        if (deployment === undefined) throw new Error('there is no deployment')
        running = await runner.prepare({ jobs, rpm: conditions.rpm, deployment })
      }),
    go: async () => guarded(async () => running?.go()),
    look: async (isCutOff) =>
      guarded(async () => {
        if (running === undefined || deployment === undefined) return
        const isOver = await running.isOver()
        if (!isOver && !isCutOff) return
        const state = await running.state()
        const log = await deployment.log()
        outcome = {
          kind: 'measured',
          jobs,
          isCutOff: !isOver,
          ...measure(log, conditions.rpm),
          ...state,
        }
      }),
    end,
  }
}
