import { z } from 'zod'
import type { LineFault } from '../../core/batches/batch-line.ts'
import type { BatchProgress } from '../../core/batches/batch-progress.ts'
import { endpoints } from '../../core/requests/endpoints.ts'
import type { BatchOrder } from '../../core/batches/batch-order.ts'
import { termsOf, type Terms } from '../../core/budget/fairness.ts'
import { priorities } from '../../core/requests/submission.ts'
import { eventTypes, type HookLog } from '../../core/batches/webhook.ts'
import type { Batch } from '../../ports/batches.ts'
import { parseStored } from '../parse-stored.ts'
import type { Entity, Values } from './table.ts'

/** How batches, their faults and the tries of their webhooks are written in table rows; what is read is checked. */

/** The row of a batch itself, and that of the tries of its webhook. */
export const batchRow = 'batch'
export const hookRow = 'hook'

export const termsSchema = z.object({
  priority: z.enum(priorities),
  capMicroUsd: z.number().nullable(),
  decision: z
    .object({
      kind: z.enum(['paused', 'resumed', 'cancelled']),
      by: z.enum(['user', 'cap', 'refusals']),
      reason: z.string(),
      at: z.number(),
    })
    .nullable(),
  refusalsFrom: z.number(),
}) satisfies z.ZodType<Terms>

const hookLogSchema = z.object({
  isGone: z.boolean(),
  deliveries: z.array(
    z.object({
      at: z.number(),
      eventId: z.string(),
      type: z.enum(eventTypes),
      tries: z.number(),
      status: z.number().nullable(),
      fault: z.string().nullable(),
      nextAt: z.number().nullable(),
    }),
  ),
}) satisfies z.ZodType<HookLog>

export function writeHookLog(log: HookLog): Values {
  return { log: JSON.stringify(log) }
}

export function readHookLog(entity: Entity): HookLog {
  return parseStored('webhook log', hookLogSchema, entity.values['log'])
}

const orderSchema = z.object({
  inputFileId: z.string(),
  filesOf: z.string().nullable(),
  endpoint: z.enum(endpoints),
  completionWindow: z.string(),
  name: z.string().nullable(),
  metadata: z.record(z.string(), z.string()).nullable(),
  outputExpiresAfterMs: z.number().nullable(),
  onUnknown: z.enum(['retry', 'fail']).nullable(),
  outputPrefix: z.string().nullable(),
  webhook: z.object({ url: z.string(), perJob: z.boolean() }).nullable(),
  origin: z.string(),
}) satisfies z.ZodType<BatchOrder>

const batchSchema = z.object({
  createdAt: z.number(),
  pool: z.string(),
  owner: z.string().nullable(),
  order: orderSchema.nullable(),
})

const resultsSchema = z.object({
  validatedAt: z.number(),
  total: z.number(),
  finalizingAt: z.number(),
  outputFileId: z.string().nullable(),
  errorFileId: z.string().nullable(),
})

const progressOfBatchSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('validating') }),
  z.object({ kind: z.literal('failed'), failedAt: z.number(), faults: z.number() }),
  z.object({
    kind: z.literal('registering'),
    validatedAt: z.number(),
    total: z.number(),
    registered: z.number(),
  }),
  z.object({ kind: z.literal('registered'), validatedAt: z.number(), total: z.number() }),
  resultsSchema.extend({ kind: z.literal('finalizing') }),
  resultsSchema.extend({ kind: z.literal('finished'), finishedAt: z.number() }),
]) satisfies z.ZodType<BatchProgress>

export function writeBatch(batch: Batch): Values {
  return { ...writeBatchChange(batch), ...writeTerms(batch.terms) }
}

/** Without its terms, which change by themselves. */
export function writeBatchChange({ createdAt, pool, owner, order, progress, workedOnUntil }: Batch): Values {
  return {
    batch: JSON.stringify({ createdAt, pool, owner, order } satisfies z.infer<typeof batchSchema>),
    ...(progress === null ? {} : { stage: JSON.stringify(progress), workedOnUntil: String(workedOnUntil) }),
  }
}

export function writeTerms(terms: Terms): Values {
  return { terms: JSON.stringify(termsOf(terms)) }
}

export function readBatch(batch: string, { values }: Entity): Batch {
  return {
    batch,
    ...parseStored('batch', batchSchema, values['batch']),
    workedOnUntil: Number(values['workedOnUntil'] ?? 0),
    progress:
      values['stage'] === undefined ? null : parseStored('batch', progressOfBatchSchema, values['stage']),
    terms: parseStored('batch', termsSchema, values['terms']),
  }
}

/** Faults sort by their place in the list. */
export function faultRow(index: number): string {
  return `fault:${String(index).padStart(6, '0')}`
}

const faultSchema = z.object({
  line: z.number().nullable(),
  code: z.string(),
  param: z.string().nullable(),
  message: z.string(),
}) satisfies z.ZodType<LineFault>

export function writeFault(fault: LineFault): Values {
  return { fault: JSON.stringify(faultSchema.parse(fault)) }
}

export function readFault({ values }: Entity): LineFault {
  return parseStored('fault', faultSchema, values['fault'])
}
