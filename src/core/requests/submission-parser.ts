import type { HostPattern } from '../destination.ts'
import type { DecodeBase64 } from './input-ref.ts'
import { isRecord, nameOf, readJson, type ReadJson } from '../json.ts'
import { limits } from '../limits.ts'
import { describeIssue, type SubmissionFault } from './submission-fault.ts'
import {
  batchSchema,
  customIdSchema,
  envelopeFields,
  schemasOf,
  type PoolRules,
  type Submission,
} from './submission.ts'

/** A faulty submission still names its batch and custom id where those are readable, so that it can be found. */
export type ParsedSubmission =
  | { readonly kind: 'valid'; readonly submission: Submission }
  | {
      readonly kind: 'invalid'
      readonly fault: SubmissionFault
      readonly customId: string | null
      readonly batch: string | null
      /** The pool that it would have gone to; null where nothing can be read. */
      readonly pool: string | null
    }

type SubmissionRules = {
  /** The first pool takes the jobs that name no model. */
  readonly pools: readonly PoolRules[]
  /** Hosts whose images edits may start from: the setting INPUT_HOSTS. */
  readonly inputHosts?: readonly HostPattern[]
  /** Without a port of its own each image in a job would stop the event loop, and with it jobs that are held. */
  readonly decodeBase64: DecodeBase64
}

/** `call`: nothing but the body of the model's own API, with nothing of ours beside it. */
type SubmissionForm = 'job' | 'call'

/** JSON as text, or as it was read before: large ones are read once. */
type SubmissionSource = string | { readonly json: unknown }

/** A `job` where no form is named. */
export type SubmissionParser = (source: SubmissionSource, form?: SubmissionForm) => ParsedSubmission

/**
 * A parser of one job from JSON text: the flat body of the portal's sample, or a line of an OpenAI batch file.
 * Unknown fields are faults: a misspelt one would be paid for and ignored. The job's `model` chooses its pool, and with
 * it what the other fields may be. Make it once: schemas cost time.
 */
export function submissionParser({
  pools,
  inputHosts = [],
  decodeBase64,
}: SubmissionRules): SubmissionParser {
  const [first] = pools
  if (first === undefined) throw new Error('a parser of jobs needs a pool that takes them')
  const poolOfModel = new Map(
    pools.flatMap((rules) => [rules.profile.model, ...rules.names].map((model) => [model, rules] as const)),
  )
  const models = [...poolOfModel.keys()]
  // Most apps never see a job for another pool than the first: those schemas are made when one comes.
  const every = { models, inputs: { hosts: inputHosts, decodeBase64 } }
  const made = new Map([[first, schemasOf(first, every)]])
  const schemasFor = (model: unknown): Schemas => {
    const rules = (typeof model === 'string' ? poolOfModel.get(model) : undefined) ?? first
    const schemas = made.get(rules) ?? schemasOf(rules, every)
    made.set(rules, schemas)
    return schemas
  }

  return (source, form = 'job') => {
    const json = readSource(source, decodeBase64)
    if (json.kind === 'unreadable') {
      return invalid(
        null,
        'invalid_json',
        `the message is not JSON (${json.reason}); wanted one JSON object`,
        {},
      )
    }
    const { value } = json
    if (!isRecord(value)) {
      return invalid(null, 'invalid_type', `the message is ${nameOf(value)}; wanted one JSON object`, {})
    }
    const shape = form === 'call' ? 'call' : isLine(value) ? 'line' : 'flat'
    const asked = shape === 'line' ? value['body'] : value
    const schemas = schemasFor(isRecord(asked) ? asked['model'] : undefined)
    const whole = shape === 'call' ? withoutStream(value) : value
    const parsed = schemas[shape].safeParse(whole, { reportInput: true })
    if (parsed.success) return { kind: 'valid', submission: parsed.data }
    const { bodyNames } = schemas
    const names = {
      line: [...Object.keys(envelopeFields), 'method', 'url', 'body'],
      flat: [...bodyNames, ...Object.keys(envelopeFields)],
      call: bodyNames,
    }[shape]
    const faults = parsed.error.issues.map((issue) => describeIssue(issue, { names, bodyNames }))
    // The first fault is enough to act on; a failed parse has at least one.
    const { param, code, message } = faults.reduce((earliest) => earliest)
    return { ...invalid(param, code, message, value), pool: schemas.pool }
  }
}

function isLine(value: object): boolean {
  return 'body' in value || 'url' in value || 'method' in value
}

/** Clients may say that they want no stream. */
function withoutStream({ stream, ...rest }: Readonly<Record<string, unknown>>): object {
  return stream === undefined || stream === false ? rest : { ...rest, stream }
}

type Schemas = ReturnType<typeof schemasOf>

/** The pool that serves the model, which is named by itself or by one of its deployments. */
export function poolOfModel({ pools }: Pick<SubmissionRules, 'pools'>, model: string): string | undefined {
  return pools.find(({ profile, names }) => profile.model === model || names.includes(model))?.pool
}

function readSource(source: SubmissionSource, decodeBase64: DecodeBase64): ReadJson {
  return typeof source === 'string'
    ? readJson(plainText(source, decodeBase64))
    : { kind: 'json', value: source.json }
}

function plainText(text: string, decodeBase64: DecodeBase64): string {
  const bytes = isBase64Message(text) ? decodeBase64(text.trim()) : undefined
  const plain = bytes === undefined ? text : new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes)
  return plain.startsWith('\uFEFF') ? plain.slice(1) : plain
}

/**
 * Many clients, the portal among them, encode queue messages as base64 unless told not to: then they begin with a brace
 * or a byte order mark. JSON never looks like it.
 */
function isBase64Message(text: string): boolean {
  return text.length <= limits.queueTextCharsMax && /^\s*(?:e|77u\/)/.test(text)
}

function invalid(
  param: string | null,
  code: string,
  message: string,
  value: object,
): Extract<ParsedSubmission, { kind: 'invalid' }> {
  const customId = customIdSchema.safeParse('custom_id' in value ? value.custom_id : undefined)
  const batch = batchSchema.safeParse('batch' in value ? value.batch : undefined)
  return {
    kind: 'invalid',
    fault: { param, code, message: message.slice(0, limits.failureMessageCharsMax).toWellFormed() },
    customId: customId.success ? customId.data : null,
    batch: batch.success ? batch.data : null,
    pool: null,
  }
}
