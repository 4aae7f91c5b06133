import type { Redis } from '../redis/redis.ts'
import { bullmqRunners } from './bullmq.ts'
import { darkroomRunner } from './darkroom.ts'
import type { Runner } from './runner.ts'
import { scripts } from './script.ts'

/** In the order of the tables. BullMQ is among them where there is a Redis. */
export function runnersWith(redis: Redis): readonly Runner[] {
  return [
    ...[1, 4].map(darkroomRunner),
    ...scripts,
    ...(redis.kind === 'ready' ? bullmqRunners(redis.port) : []),
  ]
}
