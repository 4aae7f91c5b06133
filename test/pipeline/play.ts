import type { Context } from '../../src/pipeline/context.ts'
import { takeMessage } from '../../src/pipeline/intake/intake.ts'
import { runTick } from '../../src/pipeline/pacing/pacer.ts'
import { runJob } from '../../src/pipeline/running/worker.ts'
import type { TickState } from '../../src/ports/budget.ts'
import { batch, messageOf, type World } from '../support/context.ts'

/** A pool at work in virtual time: the ticks as they are due, and the workers with what they are sent. */

export function tickState(fields: Partial<TickState>): TickState {
  const who = { instance: 'here', aloneSince: 0, mark: 'm' }
  return { epoch: 1, dueAt: null, virtualTime: 0, hasRoom: false, ...who, ...fields }
}

/** Jobs named `line-000` and on. */
export async function takeMany(
  world: World,
  context: Context,
  { count, name = batch, ...fields }: { count: number; name?: string; priority?: string; n?: number },
): Promise<void> {
  for (let index = 0; index < count; index += 1) {
    const key = `line-${String(index).padStart(3, '0')}`
    await world.clock.run(takeMessage(context, messageOf(key, { batch: name, ...fields })))
  }
}

/** The job table as intake leaves it, before any tick has looked. */
export async function addQuietly(
  world: World,
  context: Context,
  jobs: Parameters<typeof takeMany>[2],
): Promise<void> {
  const isDue = async (): Promise<TickState> => tickState({ epoch: 0, dueAt: world.clock.now() + 1_000 })
  await takeMany(world, { ...context, budgets: { ...context.budgets, readTick: isDue } }, jobs)
}

/** Runs the tick that is due, when it is due before the time; false when none is. */
export async function tickOnce(world: World, context: Context, until = Infinity): Promise<boolean> {
  const { epoch, dueAt } =
    (await context.budgets.readTick('pool')) ?? tickState({ epoch: 0, dueAt: world.clock.now() })
  if (dueAt === null || dueAt > until) return false
  await world.clock.runUntil(dueAt)
  await world.clock.run(runTick(context, { pool: 'pool', epoch }))
  return true
}

/** Runs ticks, and jobs as they get their slots, on each of the instances by turns, until the given time. */
export async function play(world: World, rooms: readonly Context[], until: number): Promise<void> {
  let turn = 0
  const next = (): Context => rooms[(turn += 1) % rooms.length]!
  while (world.clock.now() < until) {
    // What workers announce runs ticks too: their messages are looked for between.
    const at = Math.min(until, world.clock.now() + 250)
    if (!(await tickOnce(world, next(), at))) await world.clock.runUntil(at)
    for (const { message } of world.messages.work.splice(0)) {
      const context = next()
      world.clock.at(message.wakeAt, () => void runJob(context, message))
    }
  }
}

/** A promise that somebody keeps later. */
export function latch(): { readonly opened: Promise<void>; readonly open: () => void } {
  let open = (): void => {}
  const opened = new Promise<void>((resolve) => (open = resolve))
  return { opened, open: () => open() }
}
