import { limits } from '../../core/limits.ts'
import { forecast, type Forecast } from '../../pipeline/status/forecast.ts'
import { boundedText, tooLong } from '../body/body.ts'
import { reply, replyError, seconds, usd, type Call, type Reply } from '../reply.ts'

/** POST /v1/estimate: a job, or the lines of a batch file; nothing is stored or spent. */
export async function postEstimate({ request, context, caller }: Call): Promise<Reply> {
  const bytesMax = limits.estimateBodyBytesMax
  const text = await boundedText(request, { bytesMax })
  if (text === undefined) return tooLong(bytesMax)
  const made = await forecast(context, text, breathe, caller)
  return made.kind === 'invalid'
    ? replyError({ status: 400, ...made.fault })
    : reply(200, estimateBody(made.forecast, context.clock.now()))
}

function estimateBody(made: Forecast, now: number): object {
  const { startAt, finishAt, prices } = made
  return {
    object: 'estimate',
    jobs: made.jobs,
    images: made.images,
    input_tokens: made.inputTokens,
    output_tokens: made.outputTokens,
    cost_usd: usd(made.costMicroUsd),
    cost_usd_max: usd(made.upperMicroUsd),
    minutes: finishAt === null ? null : Math.ceil((finishAt - now) / 6_000) / 10,
    estimated_start_at: seconds(startAt),
    estimated_finish_at: seconds(finishAt),
    prices: prices.map(({ model, asOf, source }) => ({ model, as_of: asOf, source })),
  }
}

async function breathe(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
