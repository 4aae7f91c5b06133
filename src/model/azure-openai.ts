import type { APIError, AzureOpenAI } from 'openai'
import type { FormData as UndiciForm } from 'undici'
import { z } from 'zod'
import { badAnswer, failure, type ModelFailure } from '../core/jobs/failure.ts'
import type { ImageRequest } from '../core/requests/submission.ts'
import type { Clock } from '../ports/clock.ts'
import type { ImageModel, ModelAnswer } from '../ports/model.ts'
import type { PictureBytes } from '../ports/images.ts'
import { editForm } from './edit-form.ts'
import { causeOfThrottling, kindOfConnectionFault, kindOfStatus } from './failure-table.ts'
import { readPicture } from './pictures.ts'
import { retryAfterMs } from './retry-after.ts'

type AzureDeployment = {
  readonly endpoint: string
  readonly name: string
  readonly apiVersion: string
  /** A key, or a source of Entra ID tokens for each call. */
  readonly credential: { readonly apiKey: string } | { readonly token: () => Promise<string> }
  readonly callTimeoutMs: number
}

/** Beyond the client's own limit, which says what happened; Node's fetch would give up on headers after 300 s. */
const transportGraceMs = 10_000

/**
 * One Azure OpenAI image deployment, through the `openai` client. Every `generate` is one request, never a retry. Its
 * packages are loaded by the first call, unless `loadModelPackages` has done so: at a slot they would come late.
 */
export function azureImageModel(deployment: AzureDeployment, clock: Clock): ImageModel {
  const { credential } = deployment
  let client: AzureOpenAI | undefined
  return {
    async generate({ request, inputs }) {
      const packages = await loadModelPackages()
      client ??= newClient(deployment, packages)
      const refused = 'token' in credential ? await tokenFault(credential.token) : undefined
      if (refused !== undefined) return refused
      try {
        const call =
          inputs === undefined
            ? client.post<unknown>('/images/generations', { body: toBody(request) })
            : client.post<unknown>('/images/edits', { body: editForm(toBody(request), inputs) })
        const { data, response } = await call.withResponse()
        return toAnswer(data, request, response.headers)
      } catch (error) {
        return { kind: 'failure', failure: toFailure(error, packages.openai, clock.now()) }
      }
    },
  }
}

/** Only who calls the model needs them, and they are nearly as much code as all the rest. Once loaded, they stay. */
export async function loadModelPackages() {
  const [openai, undici] = await Promise.all([import('openai'), import('undici')])
  return { openai, undici }
}

type ModelPackages = Readonly<Awaited<ReturnType<typeof loadModelPackages>>>

function newClient(
  { endpoint, name, apiVersion, credential, callTimeoutMs }: AzureDeployment,
  { openai, undici }: ModelPackages,
): AzureOpenAI {
  const timeoutMs = callTimeoutMs + transportGraceMs
  // Idle connections stay open between slots: a handshake at a slot would move its start.
  const dispatcher = new undici.Agent({
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    keepAliveTimeout: 120_000,
  })
  return new openai.AzureOpenAI({
    // Not `endpoint`: with it a stray OPENAI_BASE_URL in the environment would be an error.
    baseURL: `${endpoint}/openai`,
    apiVersion,
    deployment: name,
    ...('apiKey' in credential ? { apiKey: credential.apiKey } : { azureADTokenProvider: credential.token }),
    timeout: callTimeoutMs,
    maxRetries: 0,
    // At `debug` the client logs bodies, and bodies hold prompts.
    logLevel: 'off',
    fetch: async (input, init) => {
      const { dispatcher: _none, body, ...rest } = init ?? {}
      const sent = body === undefined ? {} : { body: ownForm(body, undici) }
      return undici.fetch(input, { ...rest, ...sent, dispatcher })
    },
  })
}

/** This fetch knows a form only as its own class; Node's has another. */
function ownForm<Body>(body: Body, undici: ModelPackages['undici']): Body | UndiciForm {
  if (!(body instanceof FormData)) return body
  const form = new undici.FormData()
  for (const [name, value] of body) form.append(name, value)
  return form
}

/** Without a token nothing is sent: the deployment is out of reach, and the job has lost nothing. */
async function tokenFault(token: () => Promise<string>): Promise<ModelAnswer | undefined> {
  try {
    await token()
    return undefined
  } catch (error) {
    const reason = error instanceof Error ? error.message.split('\n')[0] : 'no reason given'
    const message = `Entra ID gave no token for the deployment: ${reason}`
    return { kind: 'failure', failure: unanswered(failure('unavailable', 'no_token', message)) }
  }
}

/** On the deployments path the body has no `model`, and gpt-image models take no `response_format`. */
function toBody(request: ImageRequest): ImageRequest {
  return { ...request, n: request.n ?? 1, quality: request.quality ?? 'auto' }
}

/** Every part of an answer is optional here: what is missing is our finding, not an exception. */
const answerSchema = z.object({
  data: z.array(z.object({ b64_json: z.string().optional() })).default([]),
  usage: z
    .object({
      input_tokens: z.number().default(0),
      output_tokens: z.number().default(0),
      input_tokens_details: z
        .object({ text_tokens: z.number().default(0), image_tokens: z.number().default(0) })
        .default({ text_tokens: 0, image_tokens: 0 }),
    })
    .optional(),
})

function toAnswer(data: unknown, request: ImageRequest, headers: Headers): ModelAnswer {
  const requestId = requestIdOf(headers)
  const limitRpm = limitOf(headers)
  const unusable = (what: string): ModelAnswer => ({
    kind: 'failure',
    failure: {
      ...failure('unknown', badAnswer, `the model answered ${what}; the call may have been paid for`),
      status: 200,
      requestId,
      cause: 'rate',
      retryAfterMs: null,
      limitRpm,
    },
  })
  const parsed = answerSchema.safeParse(data)
  if (!parsed.success) return unusable('something that is no answer of the image API')
  const wanted = request.n ?? 1
  const { data: items, usage } = parsed.data
  if (items.length !== wanted) return unusable(`with ${items.length} images where ${wanted} were asked for`)
  const pictures: PictureBytes[] = []
  for (const { b64_json: base64 } of items) {
    const picture = base64 === undefined ? 'without image data' : readPicture(base64, request.size)
    if (typeof picture === 'string') return unusable(`with ${picture}`)
    pictures.push(picture)
  }
  return {
    kind: 'images',
    images: pictures,
    usage: {
      inputTokens: usage?.input_tokens ?? 0,
      outputTokens: usage?.output_tokens ?? 0,
      inputTextTokens: usage?.input_tokens_details.text_tokens ?? 0,
      inputImageTokens: usage?.input_tokens_details.image_tokens ?? 0,
    },
    requestId,
    limitRpm,
  }
}

function toFailure(error: unknown, openai: ModelPackages['openai'], now: number): ModelFailure {
  if (error instanceof openai.APIConnectionTimeoutError) {
    return unanswered(
      failure('unknown', 'timeout', 'the model did not answer in time; the call may have been paid for'),
    )
  }
  if (error instanceof openai.APIError && error.status !== undefined) {
    const codes = codesOf(error)
    const kind = kindOfStatus(error.status, codes)
    const headers: Headers | undefined = error.headers
    const message = messageOf(error)
    return {
      ...failure(kind, codes[0] ?? String(error.status), message),
      status: error.status,
      cause: causeOfThrottling(codes, message),
      limitRpm: headers === undefined ? null : limitOf(headers),
      requestId: headers && requestIdOf(headers),
      retryAfterMs:
        kind === 'throttled' ? retryAfterMs(headers, JSON.stringify(error.error ?? ''), now) : null,
    }
  }
  const codes = causeCodes(error)
  const kind = kindOfConnectionFault(codes)
  const what =
    error instanceof openai.APIConnectionError ? 'the connection failed' : 'the answer could not be read'
  const paid = kind === 'unknown' ? '; the call may have been paid for' : ', before anything was sent'
  return unanswered(failure(kind, codes[0] ?? 'connection_lost', `${what}${paid}`))
}

function unanswered(base: ReturnType<typeof failure>): ModelFailure {
  return {
    ...base,
    status: null,
    requestId: undefined,
    cause: 'rate',
    retryAfterMs: null,
    limitRpm: null,
  }
}

const errorBodySchema = z.object({
  code: z.string().nullish(),
  message: z.string().nullish(),
  inner_error: z.object({ code: z.string().nullish() }).nullish(),
  innererror: z.object({ code: z.string().nullish() }).nullish(),
})

/** The codes of an error body, the outer first. Azure writes `inner_error` for images, `innererror` for chat. */
function codesOf(error: APIError): readonly string[] {
  const body = errorBodySchema.safeParse(error.error)
  if (!body.success) return []
  const { code, inner_error, innererror } = body.data
  return [code, inner_error?.code, innererror?.code].filter((found) => typeof found === 'string')
}

function messageOf(error: APIError): string {
  const body = errorBodySchema.safeParse(error.error)
  return (body.success ? body.data.message : undefined) ?? `the model answered ${error.status}`
}

/** Codes along the chain of causes, which is as deep as fetch and TLS make it. */
function causeCodes(error: unknown): readonly string[] {
  const codes: string[] = []
  let cause = error
  for (let depth = 0; depth < 6 && cause instanceof Error; depth += 1) {
    if ('code' in cause && typeof cause.code === 'string') codes.push(cause.code)
    cause = cause.cause
  }
  return codes
}

/** Requests a minute. Source: Azure's table of headers; whether image calls carry them is not documented. */
function limitOf(headers: Headers): number | null {
  const limit = Number(headers.get('x-ratelimit-limit-requests') ?? Number.NaN)
  return Number.isFinite(limit) && limit >= 1 ? limit : null
}

function requestIdOf(headers: Headers): string | undefined {
  return headers.get('apim-request-id') ?? headers.get('x-request-id') ?? undefined
}
