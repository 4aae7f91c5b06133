import { failure, type FailureKind, type ModelFailure } from '../../src/core/jobs/failure.ts'
import type { Inputs } from '../../src/core/requests/input-ref.ts'
import type { ImageModel, ModelAnswer } from '../../src/ports/model.ts'
import type { InputImage } from '../../src/ports/inputs.ts'
import type { PictureBytes } from '../../src/ports/images.ts'
import type { VirtualClock } from './virtual-clock.ts'

export type ModelCall = {
  readonly startedAt: number
  readonly deployment: string
  readonly prompt: string
  readonly inputs?: Inputs<InputImage> | undefined
}

export type ScriptedModel = ImageModel & {
  readonly calls: ModelCall[]
  /** Answers for the next calls; then every call answers with pictures. */
  readonly script: (ModelAnswer | Promise<ModelAnswer>)[]
}

/** A model that answers as it is told, after a call of the given length. */
export function scriptedModel(clock: VirtualClock, callMs = 20_000): ScriptedModel {
  const calls: ModelCall[] = []
  const script: (ModelAnswer | Promise<ModelAnswer>)[] = []
  return {
    calls,
    script,
    async generate({ deployment, request, inputs }) {
      const startedAt = clock.now()
      calls.push({ startedAt, deployment, prompt: request.prompt, inputs })
      const answer = script.shift() ?? pictures(request.n ?? 1, `call ${calls.length}`)
      await clock.sleepUntil(startedAt + callMs)
      return answer
    },
  }
}

/** An answer with pictures that name their call; usage is `tokens` each way. */
export function pictures(count: number, call: string, tokens = 100): ModelAnswer {
  const images = Array.from({ length: count }, (_, index): PictureBytes => ({
    bytes: new TextEncoder().encode(`${call}, image ${index}`),
    contentType: 'image/png',
    extension: '.png',
    width: 1024,
    height: 1024,
  }))
  const usage = { inputTokens: tokens, outputTokens: tokens, inputTextTokens: tokens, inputImageTokens: 0 }
  return { kind: 'images', images, usage, requestId: call, limitRpm: null }
}

export function fails(
  kind: FailureKind,
  {
    retryAfterMs = null,
    code = kind,
    cause = 'rate',
    status = null,
  }: {
    retryAfterMs?: number | null
    code?: string
    cause?: 'rate' | 'capacity'
    status?: number | null
  } = {},
): { readonly kind: 'failure'; readonly failure: ModelFailure } {
  return {
    kind: 'failure',
    failure: {
      ...failure(kind, code, `the model says ${code}`),
      status,
      requestId: undefined,
      cause,
      retryAfterMs,
      limitRpm: null,
    },
  }
}
