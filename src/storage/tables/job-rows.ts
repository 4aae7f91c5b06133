import { z } from 'zod'
import type { Counters } from '../../core/jobs/counters.ts'
import { priorities } from '../../core/requests/submission.ts'
import type { InputRef, Inputs } from '../../core/requests/input-ref.ts'
import { failureKinds } from '../../core/jobs/failure.ts'
import { limits } from '../../core/limits.ts'
import type { Job, Phase } from '../../core/jobs/job.ts'
import { parseStored } from '../parse-stored.ts'
import type { Entity, Values } from './table.ts'

/**
 * How jobs and counters are written in table rows. A record keeps its prompt apart: it is written once, and
 * changes carry only what moves. All values are strings; what is read is checked.
 */

export function jobRow(key: string): string {
  return `job:${key}`
}

/** All records of a batch lie before this name. */
export const jobRows = { before: 'job;' } as const

/** What a record has beside its prompt. */
export const briefValues = ['origin', 'inputs', 'progress', 'grant', 'phase'] as const

export function countRow(shard: number): string {
  return `count:${shard}`
}

export const countRows: readonly string[] = Array.from({ length: limits.countShards }, (_, shard) =>
  countRow(shard),
)

const usageSchema = z.object({
  inputTokens: z.number(),
  outputTokens: z.number(),
  inputTextTokens: z.number(),
  inputImageTokens: z.number(),
})

const imageSchema = z.object({
  blob: z.string(),
  contentType: z.string(),
  sizeBytes: z.number(),
  width: z.number(),
  height: z.number(),
  sha256: z.string(),
})

const phaseSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('waiting'), dueAt: z.number() }),
  z.object({ kind: z.literal('slotted'), slotAt: z.number(), isReserved: z.boolean() }),
  z.object({ kind: z.literal('running'), leaseUntil: z.number() }),
  z.object({
    kind: z.literal('succeeded'),
    finishedAt: z.number(),
    answeredAt: z.number().optional(),
    images: z.array(imageSchema),
    usage: usageSchema,
    costMicroUsd: z.number(),
  }),
  z.object({
    kind: z.literal('failed'),
    finishedAt: z.number(),
    failure: z.object({ kind: z.enum(failureKinds), code: z.string(), message: z.string() }),
  }),
  z.object({ kind: z.literal('cancelled'), finishedAt: z.number(), reason: z.string().optional() }),
])

/** What never changes after a job was accepted, without the prompt. */
const originSchema = z.object({
  pool: z.string(),
  priority: z.enum(priorities).nullable(),
  customId: z.string().nullable(),
  output: z.string().nullable(),
  onUnknown: z.enum(['retry', 'fail']).nullable(),
  parameters: z
    .object({
      size: z.string().optional(),
      quality: z.string().optional(),
      output_format: z.string().optional(),
      output_compression: z.number().optional(),
      n: z.number().optional(),
      background: z.string().optional(),
      moderation: z.string().optional(),
      user: z.string().optional(),
      input_fidelity: z.string().optional(),
    })
    .nullable(),
  metadata: z.record(z.string(), z.string()).nullable(),
  input: z.string().nullable(),
  createdAt: z.number(),
})

const refSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('file'), id: z.string() }),
  z.object({ kind: z.literal('blob'), name: z.string() }),
  z.object({ kind: z.literal('url'), url: z.string() }),
]) satisfies z.ZodType<InputRef>

const inputsSchema = z.object({ images: z.array(refSchema).readonly(), mask: refSchema.nullable() })

/** Given by the pacer, and kept by the claim. */
const grantSchema = z.object({ slotAt: z.number().nullable(), deployment: z.string().nullable() })

const progressSchema = z.object({
  giveUpAt: z.number().nullable(),
  attempts: z.number(),
  attemptsForgiven: z.number(),
  postponements: z.number(),
  failedAt: z.number().nullable(),
  possiblyRepeated: z.number(),
  upperMicroUsd: z.number(),
  unsureMicroUsd: z.number(),
  startedAt: z.number().nullable(),
  requestIds: z.array(z.string()),
})

/** The whole record of a new job. */
export function writeNewJob(job: Job): Values {
  const { prompt = '', inputs, ...parameters } = job.request ?? {}
  const origin: z.infer<typeof originSchema> = {
    pool: job.pool,
    priority: job.priority,
    customId: job.customId,
    output: job.output,
    onUnknown: job.onUnknown,
    parameters: job.request === null ? null : parameters,
    metadata: job.metadata,
    input: job.input,
    createdAt: job.createdAt,
  }
  return { prompt, origin: JSON.stringify(origin), ...writeInputs(inputs), ...writeChangedJob(job) }
}

/** In a property of their own: many references fill one. */
function writeInputs(inputs: Inputs | undefined): Values {
  return inputs === undefined ? {} : { inputs: JSON.stringify(inputs satisfies z.infer<typeof inputsSchema>) }
}

/** What a change of a job may alter. */
export function writeChangedJob(job: Job): Values {
  const {
    giveUpAt,
    attempts,
    attemptsForgiven,
    postponements,
    failedAt,
    possiblyRepeated,
    upperMicroUsd,
    unsureMicroUsd,
    startedAt,
    requestIds,
  } = job
  const progress: z.infer<typeof progressSchema> = {
    giveUpAt,
    attempts,
    attemptsForgiven,
    postponements,
    failedAt,
    possiblyRepeated,
    upperMicroUsd,
    unsureMicroUsd,
    startedAt,
    requestIds: [...requestIds],
  }
  return { progress: JSON.stringify(progress), ...writePlacedJob(job) }
}

/** What a slot alters: the pacer writes it without having read the record. */
export function writePlacedJob(job: Pick<Job, 'phase' | 'slotAt' | 'deployment'>): Values {
  const grant: z.infer<typeof grantSchema> = { slotAt: job.slotAt, deployment: job.deployment }
  return { grant: JSON.stringify(grant), ...writePhase(job.phase) }
}

export function writePhase(phase: Phase): Values {
  return { phase: JSON.stringify(phase) }
}

export function readJob(ref: { readonly batch: string; readonly key: string }, entity: Entity): Job {
  const { values } = entity
  const origin = parseStored('job', originSchema, values['origin'])
  const { parameters, ...rest } = origin
  return {
    ...ref,
    ...rest,
    request:
      parameters === null
        ? null
        : { prompt: values['prompt'] ?? '', ...parameters, ...readInputs(values['inputs']) },
    ...parseStored('job', progressSchema, values['progress']),
    ...parseStored('job', grantSchema, values['grant']),
    phase: parseStored('job', phaseSchema, values['phase']),
  }
}

function readInputs(text: string | undefined): { readonly inputs?: Inputs } {
  return text === undefined ? {} : { inputs: parseStored('job', inputsSchema, text) }
}

const countersSchema = z.object({
  waiting: z.number(),
  running: z.number(),
  succeeded: z.number(),
  failed: z.number(),
  cancelled: z.number(),
  images: z.number(),
  inputTokens: z.number(),
  outputTokens: z.number(),
  possiblyRepeated: z.number(),
  spentMicroUsd: z.number(),
  unsureMicroUsd: z.number(),
  reservedMicroUsd: z.number(),
  callMs: z.number(),
  firstStartedAt: z.number().nullable(),
  lastFinishedAt: z.number().nullable(),
  finishedRecently: z.array(z.object({ at: z.number(), count: z.number() })),
  /** Times; that of a refusal is negative. */
  answersRecently: z.array(z.number()),
})

export function writeCounters(counters: Counters): Values {
  const answersRecently = counters.answersRecently.map(({ at, isRefused }) => (isRefused ? -at : at))
  const row = { ...counters, answersRecently } satisfies Record<keyof z.infer<typeof countersSchema>, unknown>
  return { counters: JSON.stringify(row) }
}

export function readCounters(entity: Entity): Counters {
  const { answersRecently, ...rest } = parseStored('counters', countersSchema, entity.values['counters'])
  return {
    ...rest,
    answersRecently: answersRecently.map((at) => ({ at: Math.abs(at), isRefused: at < 0 })),
  }
}
