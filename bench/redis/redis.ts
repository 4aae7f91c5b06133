import { say } from '../progress.ts'
import type { World } from '../world.ts'
import { findRedis } from './install.ts'

export type Redis =
  { readonly kind: 'ready'; readonly port: number } | { readonly kind: 'missing'; readonly why: string }

/** A Redis of the world's own, or the reason why there is none. */
export async function startRedis(world: World): Promise<Redis> {
  const program = findRedis()
  if (program.kind === 'missing') {
    say(`without Redis: ${program.why}`)
    return program
  }
  try {
    const child = await world.child({
      path: 'bench/redis/redis-command.ts',
      args: [program.path, program.libraries, await world.folder()],
      ready: /^redis: ready (\d+)$/,
    })
    return { kind: 'ready', port: Number(child.said) }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    say(`without Redis: ${why}`)
    return { kind: 'missing', why }
  }
}
